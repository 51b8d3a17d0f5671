import { chmodSync, chownSync, lstatSync, readFileSync, renameSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { BindError } from "./listener.ts";

/** Where a unix socket is to lie, and who may write to it. */
export interface SocketPlace {
  readonly path: string;
  /** Permissions in octal, as chmod(1) takes them. */
  readonly mode: string;
  readonly group?: string | undefined;
}

/** A unix socket that listens already, under a name of its own until it is shown. */
export interface SocketFile {
  /** Puts it into its place, at once, whatever socket lies there. */
  show(): void;
  /** Whether it is the one that lies in its place. */
  isThere(): boolean;
  /** Stops accepting, and takes it away unless another one is there now. */
  close(): void;
}

/** Opens one. Throws BindError when it cannot be had, or, unless it `replaces` it, when somebody listens there. */
export async function openSocketFile(
  { path, mode, group }: SocketPlace,
  replaces: boolean,
  take: (socket: Socket) => void,
): Promise<SocketFile> {
  await mustBeFree(path, replaces);
  // Made elsewhere and moved: nobody finds it before its permissions are right, and the file that the runtime
  // removes when it closes is not the one that a successor has put in its place.
  const making = `${path}.${process.pid}`;
  removeSocket(making);
  const server = createServer({ pauseOnConnect: true }, take);
  try {
    await listening(server, making);
    chmodSync(making, Number.parseInt(mode, 8));
    if (group !== undefined) chownSync(making, -1, groupId(group));
    const { ino } = lstatSync(making);
    const isThere = (): boolean => lstatSync(path, { throwIfNoEntry: false })?.ino === ino;
    return {
      show: () => renameSync(making, path),
      isThere,
      close() {
        if (isThere()) removeSocket(path);
        server.close();
      },
    };
  } catch (error) {
    server.close();
    const { code = "", message } = error as NodeJS.ErrnoException;
    throw new BindError(`socket ${path}: ${REASONS[code] ?? message}`, { cause: error });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  // The runtime says the same of both.
  EACCES: "no right to make it there, or no such folder",
  EPERM: "no right to give it to that group",
  EINVAL: "its path is too long",
};

async function mustBeFree(path: string, replaces: boolean): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there) return;
  if (!there.isSocket()) throw new BindError(`socket ${path}: something else lies there`);
  if (!replaces && (await answers(path)))
    throw new BindError(`socket ${path}: another program listens there`);
}

/** One that nobody listens at any more is what a crash leaves behind. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EAGAIN"));
  });
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      // An accept that fails for want of descriptors must not end the process; the next one may work.
      server.on("error", () => {});
      resolve();
    });
  });
}

/** Without the right to, it stays, and the next start takes its place. */
function removeSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch {}
}

/** The number in the third field of group(5). */
function groupId(name: string): number {
  const entries = readFileSync("/etc/group", "utf8").split("\n");
  const [, , id] = entries.map((line) => line.split(":")).find(([known]) => known === name) ?? [];
  if (id === undefined) throw new Error(`no group here is called ${name}`);
  return Number(id);
}
