import { createServer, type Server, type Socket } from "node:net";
import { Networks } from "../wire/networks.ts";
import { type Arrival, takeHeader } from "./header.ts";
import { type AcceptedPeer, type Introduced, introduce, socketPeer } from "./peer.ts";

export type { AcceptedPeer } from "./peer.ts";

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
  /** `implicit`: nobody but TLS may read a byte. */
  readonly tls?: "starttls" | "implicit";
  /** Networks whose connections begin with a PROXY header; no others' do. */
  readonly proxyProtocol?: { readonly from: readonly string[] };
  /** Networks whose hosts may name their clients by XCLIENT. */
  readonly xclient?: { readonly from: readonly string[] };
  /** How long a header may take, in milliseconds. */
  readonly headerTimeoutMs?: number;
  /** Hears what came where a header belongs. */
  readonly onHeader?: (outcome: HeaderOutcome, proxy: string) => void;
}

/** What came of a connection that should begin with a PROXY header. */
export type HeaderOutcome = Introduced | Exclude<Arrival["kind"], "header">;

/** Why a listener could not be opened, in an operator's words. */
export class BindError extends Error {
  override readonly name = "BindError";
}

const BACKLOG = 4096;
/** Dead peers are noticed by the kernel; sessions may be silent for half an hour. */
const KEEP_ALIVE_AFTER = 120_000;

/** A retransmitted segment must not be taken for a header that never comes. */
const MIN_HEADER_TIMEOUT = 3_000;

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
  const door = new Door(options, accept);
  server.on("connection", (socket) => door.open(socket));
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
        resolve(bound(options.name, server, door));
      },
    );
  });
}

/** Finds out who is at a new socket before anybody else hears of it. */
class Door {
  readonly #options: ListenerOptions;
  readonly #accept: (socket: Socket, peer: AcceptedPeer) => void;
  readonly #proxies: Networks;
  readonly #introducers: Networks;
  readonly #waiting = new Set<Socket>();

  constructor(options: ListenerOptions, accept: (socket: Socket, peer: AcceptedPeer) => void) {
    this.#options = options;
    this.#accept = accept;
    this.#proxies = new Networks(options.proxyProtocol?.from ?? []);
    this.#introducers = new Networks(options.xclient?.from ?? []);
  }

  open(socket: Socket): void {
    const peer = socketPeer(socket);
    if (!peer) this.#gone(socket);
    else if (this.#proxies.contains(peer.address)) void this.#openToProxy(socket, peer);
    else this.#handOver(socket, peer);
  }

  /** Gone before we looked: a scan, or a health check that only connects. */
  #gone(socket: Socket): void {
    socket.destroy();
    if (this.#options.proxyProtocol) this.#options.onHeader?.("left", "nobody");
  }

  /** Those who still owe a header. */
  close(): void {
    for (const socket of this.#waiting) socket.destroy();
  }

  async #openToProxy(socket: Socket, proxy: AcceptedPeer): Promise<void> {
    this.#waiting.add(socket);
    const ms = Math.max(this.#options.headerTimeoutMs ?? 0, MIN_HEADER_TIMEOUT);
    const arrival = await takeHeader(socket, ms);
    this.#waiting.delete(socket);
    if (arrival.kind === "header" && !socket.destroyed) {
      const { as, peer } = introduce(proxy, arrival.header);
      this.#options.onHeader?.(as, proxy.address);
      this.#handOver(socket, peer);
    } else {
      // Without a word: whoever it is did not ask us anything yet.
      socket.destroy();
      this.#options.onHeader?.(arrival.kind === "header" ? "left" : arrival.kind, proxy.address);
    }
  }

  #handOver(socket: Socket, peer: AcceptedPeer): void {
    // A ClientHello that is here already stays in the socket until TLS takes it.
    if (this.#options.tls === "implicit") socket.pause();
    const introduces = peer.via === undefined && this.#introducers.contains(peer.address);
    this.#accept(socket, introduces ? { ...peer, proxy: "xclient" } : peer);
  }
}

function bound(name: string, server: Server, door: Door): Bound {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP listener without an address");
  return {
    name,
    address: address.address,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        door.close();
      }),
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
