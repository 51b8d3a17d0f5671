import type { Socket } from "node:net";
import type { ClientFacts, Telling } from "../session/protocol.ts";
import { formatProxyV1, formatProxyV2 } from "../wire/proxy-format.ts";

/** How a backend learns who the client is, as configured. */
export type IdentityMode = "auto" | "none" | "proxy-v1" | "proxy-v2" | "xclient" | "id";

/** What goes before everything else on a connection. */
export type Header = "none" | "proxy-v2" | "proxy-v1";

/** What a backend has been told last, and by what; or why not. */
export interface Outcome {
  readonly by: Exclude<Header, "none"> | "xclient" | "id" | undefined;
  readonly whyNot?: string;
}

/** In this order, and a header only to a backend that says nothing without one. */
const SEARCHED: readonly Header[] = ["none", "proxy-v2", "proxy-v1"];

/**
 * How one endpoint is told who the client is: as configured, or, in `auto`, as it was found out. What was found
 * counts until it fails; `doubted` asks for it to be found again.
 */
export class Introduction {
  readonly mode: IdentityMode;
  /** Somebody who finds out; called when what was found has failed. */
  doubted: () => void = () => {};
  #header: Header | undefined;
  #search: Promise<unknown> | undefined;
  #inDoubt = false;
  /** Why the backend does not take from us what it offers. */
  #refused: string | undefined;
  #outcome: Outcome = { by: undefined };

  constructor(mode: IdentityMode) {
    this.mode = mode;
    if (mode !== "auto") this.#header = mode === "proxy-v1" || mode === "proxy-v2" ? mode : "none";
  }

  get header(): Header | undefined {
    return this.#header;
  }

  /** What the backend was told on the last connection of our own. */
  get outcome(): Outcome {
    return this.#header === "proxy-v1" || this.#header === "proxy-v2" ? { by: this.#header } : this.#outcome;
  }

  /** The headers to try when nothing is known, or when what is known has failed. */
  get candidates(): readonly Header[] {
    return this.mode === "auto" ? SEARCHED : [];
  }

  /** The header for a connection now; while nothing is known yet, who comes waits for that, so long. */
  async ready(signal: AbortSignal, ms: number): Promise<Header> {
    if (this.#search && this.#header === undefined)
      await settled(this.#search, AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(ms))]));
    return this.#header ?? "none";
  }

  /** What is left to say in the backend's protocol, behind this header. */
  telling(header: Header, own: boolean): Telling {
    if (header !== "none" || this.mode === "none") return "nothing";
    if (this.mode !== "auto") return this.mode === "xclient" ? "xclient" : "id";
    // Our own connections try again what was refused.
    return this.#refused !== undefined && !own ? "nothing" : "offered";
  }

  /** Somebody finds out now. */
  searching(search: Promise<unknown>): void {
    this.#search = search;
    void search.then(() => {
      this.#search = undefined;
      this.#inDoubt = false;
    });
  }

  found(header: Header): void {
    if (this.mode === "auto") this.#header = header;
  }

  /** A client's connection came to nothing before its backend had been understood; `silent`: not one byte came. */
  failed(header: Header, silent: boolean): void {
    if (this.mode !== "auto" || (header === "none" && !silent) || this.#inDoubt) return;
    this.#inDoubt = true;
    this.doubted();
  }

  /** What became of telling on a connection. */
  told(own: boolean, outcome: Outcome): void {
    if (!own) {
      if (this.mode === "auto" && outcome.whyNot !== undefined) this.doubted();
      return;
    }
    this.#outcome = outcome;
    this.#refused = outcome.by === undefined ? outcome.whyNot : undefined;
  }
}

/** A connection that we make for ourselves: then we are its client. */
export function ourselves(socket: Socket, ourName: string): ClientFacts {
  const { localAddress = "", localPort = 0, remoteAddress = "", remotePort = 0 } = socket;
  return {
    address: localAddress,
    port: localPort,
    local: { address: remoteAddress, port: remotePort },
    own: true,
    session: "postern",
    hello: { name: ourName, extended: true },
  };
}

export function formatHeader(header: Header, client: ClientFacts): Buffer | undefined {
  if (header === "none") return undefined;
  return header === "proxy-v2" ? formatProxyV2(client) : Buffer.from(formatProxyV1(client), "latin1");
}

function settled(search: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = (): void => {
      signal.removeEventListener("abort", over);
      resolve();
    };
    signal.addEventListener("abort", over);
    if (signal.aborted) over();
    void search.then(over);
  });
}
