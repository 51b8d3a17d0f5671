import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Below the range from which the kernel takes the near ends of outgoing connections, so that none of those is in the way. */
const LOWEST = 11_000;
const HIGHEST = 32_000;

/** `count` ports that nobody listens on and that no other test process will be given while this one lives. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}

export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = randomInt(LOWEST, HIGHEST);
    if ((await reserve(port)) && (await isFree(port))) return port;
  }
  throw new Error("no free port found in 200 attempts");
}

/** Held by an abstract socket: it belongs to one process at a time and ends with it. */
async function reserve(port: number): Promise<boolean> {
  const holder = await tryToListen({ path: `\0postern-test-port-${port}` });
  holder?.unref();
  return holder !== undefined;
}

async function isFree(port: number): Promise<boolean> {
  const probe = await tryToListen({ port });
  if (!probe) return false;
  probe.close();
  await once(probe, "close");
  return true;
}

async function tryToListen(where: { path: string } | { port: number }): Promise<Server | undefined> {
  const server = createServer();
  server.listen(where);
  try {
    await once(server, "listening");
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return undefined;
    throw error;
  }
}
