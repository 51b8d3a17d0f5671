import { once } from "node:events";
import { createServer, type Server } from "node:net";
import type { ListenerConfig } from "../config/schema.ts";
import { BindError } from "../listen/listener.ts";

/** sd_listen_fds(3): they begin here. */
const FIRST = 3;

/** A socket that systemd listens at for us, and whose it is. */
export interface GivenSocket {
  readonly server: Server;
  /** Undefined where no listener has its address. */
  readonly listener: ListenerConfig | undefined;
  /** For the log. */
  readonly address: string;
}

/** How many sockets the environment promises to this very process; none to those that it starts. */
function promised(env: NodeJS.ProcessEnv): number {
  return env["LISTEN_PID"] === String(process.pid) ? Number(env["LISTEN_FDS"]) || 0 : 0;
}

/**
 * The sockets of a systemd socket unit, each for the listener of its address. `give` is called in the very moment
 * that a socket is ours, before a connection is accepted from it. Throws BindError for what is no listening socket.
 */
export async function takeGivenSockets(
  env: NodeJS.ProcessEnv,
  listeners: readonly ListenerConfig[],
  give: (given: GivenSocket) => void,
): Promise<void> {
  for (let fd = FIRST; fd < FIRST + promised(env); fd += 1) {
    const server = createServer().listen({ fd });
    await once(server, "listening").catch((error: Error) => {
      throw new BindError(`descriptor ${fd} of the service manager: ${error.message}`, { cause: error });
    });
    const place = server.address();
    if (place === null || typeof place === "string")
      throw new BindError(`descriptor ${fd} of the service manager is no TCP socket`);
    const { address, port } = place;
    const listener = listeners.find((one) => one.port === port && fits(one.host, address));
    give({ server, listener, address: `${address} port ${port}` });
  }
}

function fits(host: string | undefined, address: string): boolean {
  return host === undefined ? address === "::" || address === "0.0.0.0" : host === address;
}
