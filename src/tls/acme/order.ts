import { setTimeout as pause } from "node:timers/promises";
import type { Authorization, Client, Order } from "acme-client";
import type { KeyPair } from "../key-pair.ts";
import { type AcmeCertificate, covers, joinPair, readPair } from "./certificate.ts";
import type { Challenger } from "./challenge.ts";
import { type KeyType, newKey } from "./keys.ts";
import { loadLibrary, speakOver } from "./library.ts";
import { AuthorityLine, printable } from "./line.ts";

/** What a certificate is ordered with. */
export interface OrderSettings {
  readonly directory: string;
  readonly email: string;
  readonly domains: readonly string[];
  readonly keyType: KeyType;
  readonly eab?: { readonly kid: string; readonly hmacKey: string };
}

export interface OrderOptions {
  readonly settings: OrderSettings;
  /** The authorities that the ACME server's own certificate may come from, PEM; without it the system's. */
  readonly ca: string | undefined;
  readonly accountKey: string;
  readonly challenger: Challenger;
  readonly signal: AbortSignal;
}

/** Why there is no certificate, in words for an operator. */
export class OrderFailed extends Error {
  override readonly name = "OrderFailed";
  /** What the authority asks us to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(reason: string, retryAfterMs?: number, options?: ErrorOptions) {
    super(reason, options);
    this.retryAfterMs = retryAfterMs;
  }
}

/** RFC 8555 8.3: base64url. */
const TOKEN = /^[A-Za-z0-9_-]{1,256}$/;
/** The first look comes at once; the pause before the next one doubles up to the longest. In milliseconds. */
const FIRST_POLL = 250;
const LONGEST_POLL = 10_000;
const POLL_DEADLINE = 5 * 60_000;

/** Orders one certificate for all domains (RFC 8555 7.4). Throws OrderFailed. */
export async function orderCertificate(options: OrderOptions): Promise<AcmeCertificate> {
  using line = new AuthorityLine(options.ca, options.signal);
  try {
    const ordering = new Ordering(options, line);
    return await speakOver(line, () => ordering.run());
  } catch (error) {
    const { refusal } = line;
    const reason = refusal?.reason ?? (error instanceof Error ? error.message : String(error));
    throw new OrderFailed(printable(reason), refusal?.retryAfterMs, { cause: error });
  }
}

class Ordering {
  readonly #options: OrderOptions;
  readonly #line: AuthorityLine;

  constructor(options: OrderOptions, line: AuthorityLine) {
    this.#options = options;
    this.#line = line;
  }

  async run(): Promise<AcmeCertificate> {
    const { domains, keyType } = this.#options.settings;
    const { crypto } = await loadLibrary();
    const client = await this.#signUp();
    const order = await client.createOrder({
      identifiers: domains.map((value) => ({ type: "dns", value })),
    });
    // One after the other: example.org and *.example.org want different values in one DNS record.
    for (const authorization of await client.getAuthorizations(order))
      await this.#authorize(client, authorization);
    const key = await newKey(keyType);
    const [, request] = await crypto.createCsr({ altNames: [...domains] }, key);
    const finalized = await client.finalizeOrder(order, request);
    const done = await this.#until(() => orderState(client, finalized));
    return believe({ cert: await client.getCertificate(done), key }, domains);
  }

  /** RFC 8555 7.3: a new account, or the one that this key has already. */
  async #signUp(): Promise<Client> {
    const { settings, accountKey } = this.#options;
    const { Client } = await loadLibrary();
    const client = new Client({
      directoryUrl: settings.directory,
      accountKey,
      ...(settings.eab && { externalAccountBinding: { ...settings.eab } }),
    });
    await client.createAccount({ termsOfServiceAgreed: true, contact: [`mailto:${settings.email}`] });
    return client;
  }

  async #authorize(client: Client, authorization: Authorization): Promise<void> {
    const { challenger, signal, settings } = this.#options;
    const domain = authorization.identifier.value;
    // What the authority says here becomes arguments of programs and names of records: only what we asked for does.
    if (!settings.domains.includes(domain) && !settings.domains.includes(`*.${domain}`))
      throw new Error("the authority asks about a name that is not ours");
    if (authorization.status === "valid") return;
    // The library's types know two kinds of challenges; authorities offer more.
    const challenge = authorization.challenges.find(({ type }) => (type as string) === challenger.type);
    if (!challenge) throw new Error(`${domain}: the authority offers no ${challenger.type}`);
    if (typeof challenge.token !== "string" || !TOKEN.test(challenge.token))
      throw new Error(`${domain}: the authority's token is none`);
    const keyAuthorization = await client.getChallengeKeyAuthorization(challenge);
    await using _shown = await challenger.present(
      { domain, token: challenge.token, keyAuthorization },
      signal,
    );
    await client.completeChallenge(challenge);
    await this.#until(() => authorizationState(client, authorization));
  }

  /** Looks again and again until there is something; as patient as the authority asks (RFC 8555 7.5.1). */
  async #until<State>(look: () => Promise<State | undefined>): Promise<State> {
    const deadline = performance.now() + POLL_DEADLINE;
    for (let wait = FIRST_POLL; ; wait = Math.min(wait * 2, LONGEST_POLL)) {
      const state = await look();
      if (state !== undefined) return state;
      const asked = Math.min(this.#line.pollAfterMs ?? 0, POLL_DEADLINE);
      if (performance.now() > deadline) throw new Error("the authority does not come to an end");
      await pause(Math.max(wait, asked), undefined, { signal: this.#options.signal, ref: false });
    }
  }
}

async function authorizationState(
  client: Client,
  { url, identifier }: Authorization,
): Promise<true | undefined> {
  const only = { authorizations: [url] } as Order;
  const [now] = await client.getAuthorizations(only);
  if (now?.status === "valid") return true;
  if (now?.status === "pending") return undefined;
  const faults = now?.challenges.map(({ error }) => detailOf(error)).filter((detail) => detail !== undefined);
  throw new Error(`${identifier.value}: ${faults?.[0] ?? `the authorization is ${now?.status}`}`);
}

async function orderState(client: Client, order: Order): Promise<Order | undefined> {
  const now = order.status === "valid" ? order : await client.getOrder(order);
  if (now.status === "valid") return now;
  if (now.status === "processing" || now.status === "ready") return undefined;
  throw new Error(detailOf(now.error) ?? `the order is ${now.status}`);
}

function detailOf(problem: object | undefined): string | undefined {
  const { detail } = Object(problem);
  return typeof detail === "string" ? detail : undefined;
}

/** What an authority sends takes the place of a good certificate only when it is one. */
function believe(pair: KeyPair, domains: readonly string[]): AcmeCertificate {
  const certificate = readPair(joinPair(pair));
  if (!covers(certificate, domains)) throw new Error("the authority's certificate lacks some of the domains");
  return certificate;
}
