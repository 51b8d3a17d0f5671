import { createHash } from "node:crypto";
import type { SecureContext } from "node:tls";
import { Certificate } from "./certificate.ts";
import { type ContextSettings, serverContext } from "./context.ts";
import type { KeyPair } from "./key-pair.ts";
import type { TicketSecret } from "./tickets.ts";

/** Where certificates come from, in the order in which they are looked through. */
const ORIGINS = ["files", "acme", "selfSigned"] as const;
export type Origin = (typeof ORIGINS)[number];

/** RFC 6066 3: what a client sends as a name can be anything; only a host name can match. */
const HOST_NAME = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;
const MAX_HOST_NAME = 253;

/** A certificate as metrics and checks see it. */
export interface Shown {
  readonly origin: Origin;
  /** The first of its own names, never a client's text. */
  readonly name: string;
  readonly expiresAt: Date;
}

/**
 * All certificates of the gateway, and the one OpenSSL context for each listener and certificate. A change is
 * for the handshakes to come; nothing here knows, or touches, the sessions that there are.
 */
export class CertificateStore {
  readonly #tickets: TicketSecret;
  #settings: ContextSettings;
  readonly #origins = new Map<Origin, readonly Certificate[]>();
  readonly #challenges = new Map<string, SecureContext>();
  /** Made when first asked for; by certificate, then by listener. */
  #contexts = new WeakMap<Certificate, Map<string, SecureContext>>();
  #first: Certificate | undefined;
  #exact = new Map<string, Certificate>();
  #wildcards = new Map<string, Certificate>();

  /** `settings` are those of all listeners; see `change`. */
  constructor(tickets: TicketSecret, settings: ContextSettings) {
    this.#tickets = tickets;
    this.#settings = settings;
    tickets.onChange(() => this.#forgetContexts());
  }

  /** Takes the place of what this origin had. Throws OpenSSL's error, and changes nothing, when a pair is no pair. */
  setPairs(origin: Origin, pairs: readonly KeyPair[]): void {
    const known = this.#origins.get(origin) ?? [];
    const certificates = pairs.map(
      (pair) => known.find((certificate) => certificate.isOf(pair)) ?? this.#tried(pair),
    );
    this.#origins.set(origin, certificates);
    this.#index();
  }

  /** New settings for all contexts from now on. Throws OpenSSL's error, and changes nothing, when they are no good. */
  change(settings: ContextSettings): void {
    if (this.#first) serverContext(this.#first.pair, settings);
    this.#settings = settings;
    this.#forgetContexts();
  }

  /** Whether there is nothing to answer a handshake with. */
  get empty(): boolean {
    return this.#first === undefined && this.#challenges.size === 0;
  }

  /** Whether the client's hello decides which certificate it gets. */
  get choosing(): boolean {
    return this.#exact.size + this.#wildcards.size > 0 && this.#count > 1;
  }

  /** Whether somebody waits to be asked by a certification authority. */
  get challenged(): boolean {
    return this.#challenges.size > 0;
  }

  /** The context for this listener and the name that a client asked for: its own, a wildcard's, or the first. */
  contextFor(listener: string, serverName?: string): SecureContext | undefined {
    const certificate = this.#find(serverName) ?? this.#first;
    return certificate && this.#contextOf(certificate, listener);
  }

  /**
   * RFC 8737 3: until disposed of, a client that offers `acme-tls/1` for this name gets this certificate, and
   * every other client the usual one.
   */
  answerChallenge(serverName: string, pair: KeyPair): Disposable {
    const name = serverName.toLowerCase();
    const context = serverContext(pair, { profile: "intermediate" });
    this.#challenges.set(name, context);
    return {
      [Symbol.dispose]: () => {
        if (this.#challenges.get(name) === context) this.#challenges.delete(name);
      },
    };
  }

  /** What `answerChallenge` set for this name. */
  challengeFor(serverName: string): SecureContext | undefined {
    return this.#challenges.get(serverName.toLowerCase());
  }

  /** Every certificate there is, in order. */
  *[Symbol.iterator](): IterableIterator<Shown> {
    for (const origin of ORIGINS) {
      for (const { name, expiresAt } of this.#origins.get(origin) ?? []) yield { origin, name, expiresAt };
    }
  }

  /** A key or a chain that OpenSSL does not take must not fail a handshake: it is made use of once before. */
  #tried(pair: KeyPair): Certificate {
    serverContext(pair, this.#settings);
    return new Certificate(pair);
  }

  get #count(): number {
    return [...this.#origins.values()].reduce((sum, { length }) => sum + length, 0);
  }

  #find(serverName: string | undefined): Certificate | undefined {
    if (serverName === undefined || serverName.length > MAX_HOST_NAME) return undefined;
    const name = serverName.toLowerCase();
    if (!HOST_NAME.test(name)) return undefined;
    // RFC 6125 6.4.3: a wildcard stands for one label, the leftmost.
    return this.#exact.get(name) ?? this.#wildcards.get(name.slice(name.indexOf(".")));
  }

  #index(): void {
    const all = ORIGINS.flatMap((origin) => this.#origins.get(origin) ?? []);
    this.#first = all[0];
    this.#exact = new Map();
    this.#wildcards = new Map();
    // The last set stays, so the earlier certificate comes last.
    for (const certificate of all.toReversed()) {
      for (const name of certificate.names) {
        if (name.startsWith("*.")) this.#wildcards.set(name.slice(1), certificate);
        else this.#exact.set(name, certificate);
      }
    }
  }

  #contextOf(certificate: Certificate, listener: string): SecureContext {
    const known = this.#contexts.get(certificate) ?? new Map<string, SecureContext>();
    this.#contexts.set(certificate, known);
    const context = known.get(listener) ?? this.#newContext(certificate, listener);
    known.set(listener, context);
    return context;
  }

  #newContext(certificate: Certificate, listener: string): SecureContext {
    const { clients } = this.#settings;
    // A session remembers that its client's certificate was good: other authorities, other sessions.
    const believed = clients ? digest(JSON.stringify([clients.ca, clients.crl ?? ""])) : "";
    const purpose = [listener, certificate.identity, believed];
    return serverContext(certificate.pair, this.#settings, {
      keys: this.#tickets.keysFor(purpose),
      // RFC 5077 5.1 leaves to us what a session is good for. OpenSSL takes 32 bytes.
      purpose: digest(JSON.stringify(purpose)).slice(0, 32),
    });
  }

  #forgetContexts(): void {
    this.#contexts = new WeakMap();
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
