import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { type Begun, Channel, type TlsFacts } from "../io/channel.ts";
import type { Facts } from "../policy/limit-key.ts";
import { Refused } from "../refusal.ts";
import type { Protocol } from "./protocol.ts";

export interface Address {
  /** Textual address; an IPv4 client of an IPv6 socket is an IPv4 client. */
  readonly address: string;
  readonly port: number;
}

/** Who the client is: whom limits count, routes and backends hear of, and the log names. */
export interface Peer extends Address {
  /** Where it connected to, as it saw it. */
  readonly local: Address;
  /** Who is at the other end of our socket, where that is a trusted proxy which spoke for the client. */
  readonly via?: Address;
  /**
   * Set where the peer is a trusted proxy itself, and not, or not yet, one of its clients: it said so in its PROXY
   * header ("local"), or it is one that may name its client by XCLIENT.
   */
  readonly proxy?: "local" | "xclient";
}

export type Stage =
  | "accepted"
  | "tls"
  | "greeted"
  | "authenticating"
  | "routing"
  | "connecting"
  | "signingIn"
  | "relaying"
  | "closed";

/** What a message may be, and whoever sends it. */
export interface ContentLimits {
  /** What becomes of a client that speaks before the greeting, or does not wait for EHLO's reply. */
  readonly earlyTalkers: "refuse" | "allow";
  /** How long another server is listened to before it is greeted, in milliseconds. */
  readonly greetDelay: number;
  /** Bytes. */
  readonly maxMessageSize: number;
  readonly maxRecipients: number;
  readonly bareNewlines: "reject" | "normalise";
  readonly senders: "off" | "observe" | "enforce";
  /** Whether a user may send as an address. */
  readonly maySendAs: (user: string, address: string) => boolean;
}

/** How a listener begins TLS as the server. */
export interface FrontendTls {
  readonly enough?: (first: Buffer) => boolean;
  wrap(raw: Socket, first: Buffer): Begun;
  /** Hears how each handshake ended: what was agreed on, or why nothing was. */
  settled?(outcome: TlsFacts | Error): void;
}

/** What a listener and its configuration mean for each session that begins there. */
export interface Frontend {
  readonly listener: string;
  readonly hostname: string;
  readonly protocol: Protocol;
  readonly implicitTls: boolean;
  /** No password before TLS. */
  readonly requireTls: boolean;
  /** SASL mechanisms that clients are offered, best first. */
  readonly mechanisms: readonly string[];
  readonly handshakeTimeoutMs: number;
  /** All the time there is from the greeting to the end of a successful login. */
  readonly loginTimeoutMs: number;
  /** The longest silence after login. */
  readonly idleTimeoutMs: number;
  /** Our side of TLS; undefined while there is no certificate. */
  readonly tls: FrontendTls | undefined;
  /** What the backends of this protocol all offer before login. */
  readonly backendCapabilities: () => readonly string[];
  /** The same, backend by backend. */
  readonly eachBackendsCapabilities: () => readonly (readonly string[])[];
  /** Limits of the messages that SMTP carries. */
  readonly content: ContentLimits;
  /** Whether a source of users can check a digest over a session's stamp now (APOP). */
  readonly verifiesApop: () => boolean;
}

/** What carries a session after its login. */
interface Relayed {
  readonly bytes: () => { in: number; out: number };
  readonly stop: (refused: Refused) => void;
  readonly slow?: ((rates: { readonly in?: number; readonly out?: number } | undefined) => void) | undefined;
}

/** All bytes of one session before login: many times what any honest client sends. */
const LOGIN_BUDGET = 128 * 1024;
/** Bad commands and failed logins that one session may make. */
const MAX_ERRORS = 10;

let serial = randomBytes(4).readUInt32BE();

/** Unique within this process and, by its random start, hardly ever met twice in a log. */
function newSessionId(): string {
  serial = (serial + 1) >>> 0;
  return `${Date.now().toString(36)}-${serial.toString(36)}`;
}

/** One client's stay: who it is, where it is in the walk, and what the account record will say of it. */
export class Session {
  readonly id = newSessionId();
  readonly startedAt = performance.now();
  readonly channel: Channel;
  readonly frontend: Frontend;
  /** Another one after XCLIENT. */
  peer: Peer;
  /** Milliseconds that each stage took, for those that are over. */
  readonly stages: Partial<Record<Stage, number>> = {};
  user: string | undefined;
  /** By which SASL mechanism somebody has tried to sign in last. */
  mechanism: string | undefined;
  backend: string | undefined;
  /** Whether the client has heard OK: from then on nothing may be said in its protocol but by the backend. */
  accepted = false;
  /** What the account record will say: "none" while nobody tried to sign in, "ok", or the last refusal's kind. */
  outcome = "none";
  /** The message that a limit has counted last, before any backend had it. */
  counted: string | undefined;
  /** Messages that a backend took. */
  messages = 0;
  /** How often this session was told no. */
  refusals = 0;
  /** Whether any command of this session has made sense in its protocol. */
  understoodAny = false;
  /** What the greeting asked for a digest over (RFC 1939 7), if it did. */
  stamp: string | undefined;
  #atTheDoorSince = this.startedAt;
  #stage: Stage = "accepted";
  #stageSince = this.startedAt;
  #errors = 0;
  #relayed: (() => { in: number; out: number }) | undefined;
  #stop: ((refused: Refused) => void) | undefined;
  #slow: Relayed["slow"];
  #stopped: Refused | undefined;
  #left: AbortController | undefined;

  constructor(socket: Socket, peer: Peer, frontend: Frontend) {
    this.channel = new Channel(socket, LOGIN_BUDGET);
    this.peer = peer;
    this.frontend = frontend;
  }

  /** Aborted when the client is gone: nobody waits any more for what is being done on its behalf. */
  get signal(): AbortSignal {
    if (!this.#left) {
      const left = new AbortController();
      this.channel.onLeave(() => left.abort());
      this.#left = left;
    }
    return this.#left.signal;
  }

  get protocol(): Protocol {
    return this.frontend.protocol;
  }

  get stage(): Stage {
    return this.#stage;
  }

  get facts(): Facts {
    const facts = {
      ip: this.peer.address,
      listener: this.frontend.listener,
      protocol: this.protocol.name,
      ...(this.peer.via && { claimed: true }),
    };
    const { user, backend } = this;
    return { ...facts, ...(user !== undefined && { user }), ...(backend !== undefined && { backend }) };
  }

  /** The names that the client has proved by a certificate. */
  get certifiedNames(): readonly string[] {
    const client = this.channel.tls?.client;
    return client?.verified ? client.names : [];
  }

  /** SASL mechanisms that this client is offered, best first: EXTERNAL (RFC 4422 A) only where it can succeed. */
  get mechanisms(): readonly string[] {
    const { mechanisms } = this.frontend;
    return this.certifiedNames.length > 0 ? mechanisms : mechanisms.filter((name) => name !== "EXTERNAL");
  }

  /** Bytes from and to the client, without what TLS adds. */
  get bytes(): { in: number; out: number } {
    return this.#relayed?.() ?? { in: this.channel.bytesRead, out: this.channel.bytesWritten };
  }

  enter(stage: Stage): void {
    const now = performance.now();
    this.stages[this.#stage] = (this.stages[this.#stage] ?? 0) + now - this.#stageSince;
    this.#stage = stage;
    this.#stageSince = now;
  }

  /** Counts one bad command or failed login. Refused as "tooManyErrors" at the limit. */
  countError(): void {
    this.#errors += 1;
    if (this.#errors >= MAX_ERRORS)
      throw new Refused("tooManyErrors", `${this.#errors} errors in one session`);
  }

  /** Makes the stamp: no session ever had it, and no byte of it is the client's. */
  makeStamp(): string {
    this.stamp = `<${randomBytes(12).toString("hex")}.${Date.now()}@${this.frontend.hostname}>`;
    return this.stamp;
  }

  understood(): void {
    this.understoodAny = true;
  }

  /** Begins TLS with the client, under the handshake's own deadline. */
  async startTls(): Promise<void> {
    const { tls, implicitTls, handshakeTimeoutMs } = this.frontend;
    if (!tls) throw new Refused("unavailable", "there is no certificate yet");
    const before = this.#stage;
    this.enter("tls");
    const late = () => new Refused("loginTimeout", "TLS handshake not finished in time");
    this.setDeadline(Math.min(handshakeTimeoutMs, this.loginTimeLeftMs), late);
    try {
      await this.channel.startTls((raw, first) => tls.wrap(raw, first), {
        enough: (first) => tls.enough?.(first) ?? true,
        implicit: implicitTls,
      });
    } catch (error) {
      tls.settled?.(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
    if (this.channel.tls) tls.settled?.(this.channel.tls);
    this.enter(before);
    this.startLoginDeadline();
  }

  /** One deadline for all that comes before login, counted from the start of the session, not from the last byte. */
  startLoginDeadline(): void {
    this.setDeadline(
      Math.max(this.loginTimeLeftMs, 1),
      () => new Refused("loginTimeout", "no login in time"),
    );
  }

  /** As the channel's, but a stop that has been asked for is not put off by it. */
  setDeadline(ms: number, late: () => Refused): void {
    const stopped = this.#stopped;
    if (stopped) this.channel.setDeadline(0, () => stopped);
    else this.channel.setDeadline(ms, late);
  }

  /** A session that comes back to the door has all the time of a new one. */
  comeBack(): void {
    this.accepted = false;
    this.#atTheDoorSince = performance.now();
    this.enter("greeted");
    this.startLoginDeadline();
  }

  /** Milliseconds until the login deadline. */
  get loginTimeLeftMs(): number {
    return Math.max(this.#atTheDoorSince + this.frontend.loginTimeoutMs - performance.now(), 0);
  }

  /** From now on `bytes` are the relay's, and `stop` ends it. */
  relayedBy(relay: Relayed): void {
    this.#relayed = relay.bytes;
    this.#slow = relay.slow;
    this.#left = undefined;
    this.#stop = relay.stop;
    if (this.#stopped) relay.stop(this.#stopped);
  }

  /** Lets so many bytes a second pass from (in) and to (out) the client; undefined: as many as come. */
  slow(rates: { readonly in?: number; readonly out?: number } | undefined): void {
    this.#slow?.(rates);
  }

  /** Ends the session from outside (shutdown, kick), with its protocol's goodbye. */
  stop(refused: Refused): void {
    this.#stopped = refused;
    if (this.#stop) this.#stop(refused);
    else this.channel.setDeadline(0, () => refused);
  }
}
