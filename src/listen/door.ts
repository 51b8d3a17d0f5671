import type { Socket } from "node:net";
import { Networks } from "../wire/networks.ts";
import { type Arrival, takeHeader } from "./header.ts";
import { type AcceptedPeer, type Introduced, introduce, socketPeer } from "./peer.ts";

export interface DoorOptions {
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

/** Takes a connection of this peer, and calls `over` at its end. */
export type Accept = (socket: Socket, peer: AcceptedPeer, over: () => void) => void;

/** A retransmitted segment must not be taken for a header that never comes. */
const MIN_HEADER_TIMEOUT = 3_000;

/** Finds out who is at a new socket before anybody else hears of it. */
export class Door {
  readonly #options: DoorOptions;
  readonly #accept: Accept;
  readonly #proxies: Networks;
  readonly #introducers: Networks;
  readonly #waiting = new Set<Socket>();

  constructor(options: DoorOptions, accept: Accept) {
    this.#options = options;
    this.#accept = accept;
    this.#proxies = new Networks(options.proxyProtocol?.from ?? []);
    this.#introducers = new Networks(options.xclient?.from ?? []);
  }

  /** `over` is called when the connection has come to its end. */
  open(socket: Socket, over: () => void): void {
    const peer = socketPeer(socket);
    if (!peer) this.#gone(socket, over);
    else if (this.#proxies.contains(peer.address)) void this.#openToProxy(socket, peer, over);
    else this.#handOver(socket, peer, over);
  }

  /** Gone before we looked: a scan, or a health check that only connects. */
  #gone(socket: Socket, over: () => void): void {
    socket.destroy();
    if (this.#options.proxyProtocol) this.#options.onHeader?.("left", "nobody");
    over();
  }

  /** Those who still owe a header. */
  close(): void {
    for (const socket of this.#waiting) socket.destroy();
  }

  async #openToProxy(socket: Socket, proxy: AcceptedPeer, over: () => void): Promise<void> {
    this.#waiting.add(socket);
    const ms = Math.max(this.#options.headerTimeoutMs ?? 0, MIN_HEADER_TIMEOUT);
    const arrival = await takeHeader(socket, ms);
    this.#waiting.delete(socket);
    if (arrival.kind === "header" && !socket.destroyed) {
      const { as, peer } = introduce(proxy, arrival.header);
      this.#options.onHeader?.(as, proxy.address);
      this.#handOver(socket, peer, over);
    } else {
      // Without a word: whoever it is did not ask us anything yet.
      socket.destroy();
      this.#options.onHeader?.(arrival.kind === "header" ? "left" : arrival.kind, proxy.address);
      over();
    }
  }

  #handOver(socket: Socket, peer: AcceptedPeer, over: () => void): void {
    // A ClientHello that is here already stays in the socket until TLS takes it.
    if (this.#options.tls === "implicit") socket.pause();
    const introduces = peer.via === undefined && this.#introducers.contains(peer.address);
    this.#accept(socket, introduces ? { ...peer, proxy: "xclient" } : peer, over);
  }
}
