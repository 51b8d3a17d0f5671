import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { Channel, ChannelClosed } from "../io/channel.ts";
import { type Refusal, Refused } from "../refusal.ts";
import type { ClientFacts, Telling, UpstreamLine } from "../session/protocol.ts";
import type { Service } from "./connector.ts";
import type { Header } from "./identity.ts";
import { reasonOf } from "./reason.ts";

/** All bytes of a backend before login. */
const BUDGET = 64 * 1024;
/** A conversation with a backend that is slower than this is an outage, whatever time the client still has. */
const MAX_CONVERSATION = 30_000;

/** What our side of the channel says when the backend breaks its rules. */
const OF_THE_CHANNEL: ReadonlySet<Refusal["kind"]> = new Set(["tooLong", "bytesAfterStartTls"]);

/** A backend that took the connection, and then said not one byte. */
export class Silent extends Refused {}

/** Whom a connection is for, and what went before everything else on it. */
interface Purpose {
  readonly client: ClientFacts;
  readonly header: Header;
}

/** Who waits for a backend, and for how long. */
export interface Patience {
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
  /** The most that the conversation before the relay may take, in milliseconds. */
  readonly conversationMs: number;
}

/**
 * A live connection to a backend. Whatever goes wrong on it comes out as Refused("unavailable") with the
 * backend's name, or as ChannelClosed when nobody waits any more; disposing of it closes it.
 */
export class UpstreamConnection implements UpstreamLine, AsyncDisposable {
  readonly channel: Channel;
  offers: readonly string[] = [];
  readonly client: ClientFacts;
  readonly #service: Service;
  readonly #waiting: Patience;
  readonly #header: Header;
  readonly #tcp: Socket;
  #secured: TLSSocket | undefined;
  #patience = MAX_CONVERSATION;
  readonly #abandon = (): void => this.channel.destroy();

  constructor(socket: Socket, service: Service, waiting: Patience, { client, header }: Purpose) {
    this.channel = new Channel(socket, BUDGET);
    this.client = client;
    this.#header = header;
    this.#tcp = socket;
    this.#service = service;
    this.#waiting = waiting;
    waiting.signal.addEventListener("abort", this.#abandon);
  }

  get backend(): string {
    return this.#service.backend;
  }

  get protocol(): string {
    return this.#service.protocol;
  }

  get ourName(): string {
    return this.#service.ourName;
  }

  get tls(): Service["tls"] {
    return this.#service.tls;
  }

  get telling(): Telling {
    return this.#service.introduction.telling(this.#header, this.#own);
  }

  get helloAsClient(): boolean {
    return this.#service.helo === "client";
  }

  get #own(): boolean {
    return this.client.own ?? false;
  }

  /** When the backend's certificate ends, where it has shown one. */
  get certificateEnds(): Date | undefined {
    const certificate = this.#secured?.getPeerX509Certificate();
    return certificate && new Date(certificate.validTo);
  }

  told(by: "xclient" | "id" | undefined, whyNot?: string): void {
    this.#service.introduction.told(this.#own, whyNot === undefined ? { by } : { by, whyNot });
  }

  learned(capabilities: readonly string[]): void {
    this.offers = capabilities;
    this.#service.learned(capabilities);
  }

  async startTls(): Promise<void> {
    const { wrap, connectTimeoutMs } = this.#service;
    if (!wrap) throw new Error(`${this.#service.name} has no TLS`);
    if (this.channel.pending > 0)
      throw new Refused("unavailable", `${this.#service.name}: bytes behind STARTTLS`);
    this.channel.setDeadline(Math.min(connectTimeoutMs, this.#waiting.conversationMs), () =>
      this.#late("the TLS handshake"),
    );
    await this.channel.startTls((raw) => {
      const wrapped = wrap(raw);
      this.#secured = wrapped.socket;
      return wrapped;
    });
    this.#setDeadline();
  }

  async open<T>(talk: () => Promise<T>): Promise<T> {
    try {
      return await this.#talk(talk, this.#service.connectTimeoutMs);
    } catch (error) {
      if (!this.#own && !this.#waiting.signal.aborted)
        this.#service.introduction.failed(this.#header, error instanceof Silent);
      throw error;
    }
  }

  async converse<T>(talk: () => Promise<T>): Promise<T> {
    return this.#talk(talk, MAX_CONVERSATION);
  }

  async #talk<T>(talk: () => Promise<T>, ms: number): Promise<T> {
    this.#patience = ms;
    this.#setDeadline();
    try {
      return await talk();
    } catch (error) {
      throw this.#translate(error);
    } finally {
      this.channel.clearDeadline();
    }
  }

  /** For a session that lives long behind it: nothing of the wait for it is kept. */
  settle(): void {
    this.#waiting.signal.removeEventListener("abort", this.#abandon);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.settle();
    this.channel.destroy();
  }

  #setDeadline(): void {
    this.channel.setDeadline(Math.min(this.#waiting.conversationMs, this.#patience), () =>
      this.#late("its answer"),
    );
  }

  #late(what: string): Refused {
    return new Refused("unavailable", `${this.#service.name}: ${what} took too long`);
  }

  #translate(error: unknown): unknown {
    if (this.#waiting.signal.aborted) return new ChannelClosed("the client is gone");
    if (this.#tcp.bytesRead === 0) return new Silent("unavailable", this.#reason(error), { cause: error });
    if (error instanceof Refused && !OF_THE_CHANNEL.has(error.refusal.kind)) return error;
    return new Refused("unavailable", this.#reason(error), { cause: error });
  }

  #reason(error: unknown): string {
    if (error instanceof Refused && !OF_THE_CHANNEL.has(error.refusal.kind)) return error.refusal.detail;
    return `${this.#service.name}: ${reasonOf(error)}`;
  }
}
