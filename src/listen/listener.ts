import { createServer, type Server, type Socket } from "node:net";

export interface Bound {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Stops accepting; what has been accepted goes on. */
  close(): Promise<void>;
}

export interface ListenerOptions {
  readonly name: string;
  readonly port: number;
  /** Default: every address, IPv4 and IPv6. */
  readonly host?: string;
}

interface Address {
  readonly address: string;
  readonly port: number;
}

export interface AcceptedPeer extends Address {
  readonly local: Address;
}

/** Why a listener could not be opened, in an operator's words. */
export class BindError extends Error {
  override readonly name = "BindError";
}

const BACKLOG = 4096;
/** Dead peers are noticed by the kernel; sessions may be silent for half an hour. */
const KEEP_ALIVE_AFTER = 120_000;

/** Opens one listening socket. Throws BindError when the address cannot be had. */
export function bind(
  options: ListenerOptions,
  accept: (socket: Socket, peer: AcceptedPeer) => void,
): Promise<Bound> {
  const server = createServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_AFTER,
  });
  server.on("connection", (socket) => {
    const { remoteAddress, remotePort, localAddress = "", localPort = 0 } = socket;
    // Gone before we looked: a scan, or a health check that only connects.
    if (remoteAddress === undefined || remotePort === undefined) return void socket.destroy();
    const local = { address: plainIPv4(localAddress), port: localPort };
    accept(socket, { address: plainIPv4(remoteAddress), port: remotePort, local });
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(new BindError(explain(options, error), { cause: error })),
    );
    server.listen(
      { port: options.port, backlog: BACKLOG, ...(options.host && { host: options.host }) },
      () => {
        server.removeAllListeners("error");
        // An accept that fails for want of descriptors must not end the process; the next one may work.
        server.on("error", () => {});
        resolve(bound(options.name, server));
      },
    );
  });
}

function bound(name: string, server: Server): Bound {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP listener without an address");
  return {
    name,
    address: address.address,
    port: address.port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function explain({ name, port, host }: ListenerOptions, error: NodeJS.ErrnoException): string {
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

/** RFC 4291 2.5.5.2: an IPv4 client of an IPv6 socket is an IPv4 client. */
function plainIPv4(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
