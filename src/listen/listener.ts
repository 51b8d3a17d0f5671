import { createServer, type Server, type Socket } from "node:net";
import { Door, type DoorOptions } from "./door.ts";
import type { AcceptedPeer } from "./peer.ts";

export type { HeaderOutcome } from "./door.ts";
export type { AcceptedPeer } from "./peer.ts";

export interface Bound {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** The listening socket itself, for another process to listen on. */
  readonly server: Server;
  /** Stops accepting; what has been accepted goes on. */
  close(): Promise<void>;
}

export interface ListenerOptions extends DoorOptions {
  readonly name: string;
  readonly port: number;
  /** Default: every address, IPv4 and IPv6. */
  readonly host?: string;
}

/** Why a listener could not be opened, in an operator's words. */
export class BindError extends Error {
  override readonly name = "BindError";
}

const BACKLOG = 4096;
/** Dead peers are noticed by the kernel; sessions may be silent for half an hour. */
const KEEP_ALIVE_AFTER = 120_000;

/** Where a connection comes in, before anybody has looked at it. */
export interface ListenOptions extends Pick<ListenerOptions, "name" | "port" | "host"> {
  /** Leaves connections unread, for another process to read them. */
  readonly untouched?: boolean;
  /** Listens on in another process's place, on the very same socket. */
  readonly inherited?: Server;
}

/** Opens one listening socket and finds out who comes. Throws BindError when the address cannot be had. */
export async function bind(
  options: ListenerOptions,
  accept: (socket: Socket, peer: AcceptedPeer) => void,
): Promise<Bound> {
  const door = new Door(options, accept);
  const bound = await listenAt(options, (socket) => door.open(socket, () => {}));
  const close = (): Promise<void> => {
    const closed = bound.close();
    door.close();
    return closed;
  };
  return { ...bound, close };
}

/** Opens one listening socket. Throws BindError when the address cannot be had. */
export function listenAt(options: ListenOptions, take: (socket: Socket) => void): Promise<Bound> {
  const server = createServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_AFTER,
    pauseOnConnect: options.untouched ?? false,
  });
  server.on("connection", take);
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(new BindError(explain(options, error), { cause: error })),
    );
    const listening = (): void => {
      server.removeAllListeners("error");
      // An accept that fails for want of descriptors must not end the process; the next one may work.
      server.on("error", () => {});
      resolve(bound(options.name, server));
    };
    if (options.inherited) server.listen(options.inherited, BACKLOG, listening);
    else
      server.listen(
        { port: options.port, backlog: BACKLOG, ...(options.host && { host: options.host }) },
        listening,
      );
  });
}

/**
 * Makes a socket that another process has accepted like one that was accepted here. What the kernel knows of it
 * (no delay, keep-alive) came with it.
 */
export function receive(socket: Socket): Socket {
  socket.allowHalfOpen = true;
  return socket;
}

function bound(name: string, server: Server): Bound {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP listener without an address");
  return {
    name,
    address: address.address,
    port: address.port,
    server,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function explain({ name, port, host }: ListenOptions, error: NodeJS.ErrnoException): string {
  const where = `${host ?? "every address"}, port ${port}`;
  switch (error.code) {
    case "EADDRINUSE":
      return `listener ${name}: ${where} is taken by another program`;
    case "EACCES":
      return `listener ${name}: no right to bind ${where}; ports below 1024 need root or CAP_NET_BIND_SERVICE`;
    case "EADDRNOTAVAIL":
      return `listener ${name}: this machine has no address ${host}`;
    default:
      return `listener ${name}: cannot bind ${where}: ${error.message}`;
  }
}
