import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Agent, request } from "node:https";

/** One request and its answer may take so long, in milliseconds. */
const REQUEST_MS = 30_000;
/** Far above any certificate chain. */
const MAX_BODY_BYTES = 1 << 20;
/** What is told of an authority's words, in characters. */
const MAX_WORDS = 500;

export interface LineRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface LineAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/** Why an authority said no, from its problem document (RFC 8555 6.7). */
export interface AuthorityRefusal {
  readonly reason: string;
  /** What it asks us to wait before the next try, in milliseconds. */
  readonly retryAfterMs?: number;
}

/** The connection to one authority for one order: HTTPS only (RFC 8555 6.1), verified, bounded in time and size. */
export class AuthorityLine implements Disposable {
  readonly #agent: Agent;
  readonly #signal: AbortSignal;
  #refusal: AuthorityRefusal | undefined;
  #pollAfterMs: number | undefined;

  /** `ca` in PEM takes the place of the system's authorities. */
  constructor(ca: string | undefined, signal: AbortSignal) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: 4, ...(ca !== undefined && { ca }) });
    this.#signal = signal;
  }

  /** The refusal, when the last answer was one. */
  get refusal(): AuthorityRefusal | undefined {
    return this.#refusal;
  }

  /** What the last answer asks us to wait before we look again, in milliseconds (RFC 8555 7.5.1). */
  get pollAfterMs(): number | undefined {
    return this.#pollAfterMs;
  }

  async request(wanted: LineRequest): Promise<LineAnswer> {
    if (!/^https:/i.test(wanted.url)) throw new Error("the authority names an address that is not https");
    const response = await this.#send(wanted);
    const body = await readBody(response);
    const status = response.statusCode ?? 0;
    this.#pollAfterMs = retryAfterOf(response.headers["retry-after"]);
    this.#refusal = status < 400 ? undefined : refusalOf(status, body, this.#pollAfterMs);
    return { status, headers: singleHeaders(response.headers), body };
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #send({ url, method, headers, body }: LineRequest): Promise<IncomingMessage> {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(REQUEST_MS)]);
    try {
      return await new Promise((resolve, reject) => {
        request(url, { method, headers, agent: this.#agent, signal }, resolve).on("error", reject).end(body);
      });
    } catch (error) {
      throw new Error(`cannot ask ${new URL(url).host}: ${wordsOf(error, signal)}`, { cause: error });
    }
  }
}

function wordsOf(error: unknown, signal: AbortSignal): string {
  if (signal.reason instanceof DOMException && signal.reason.name === "TimeoutError")
    return "no answer in time";
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return error.errors[0].message;
  return error instanceof Error ? error.message : String(error);
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error("the authority's answer is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function singleHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

/** RFC 9110 10.2.3: seconds, or a date. */
function retryAfterOf(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return ms > 0 ? ms : undefined;
}

function refusalOf(status: number, body: string, retryAfterMs: number | undefined): AuthorityRefusal {
  const { type, detail } = problemOf(body);
  const kind = type?.replace("urn:ietf:params:acme:error:", "");
  const reason = `${detail ?? "no reason given"} (${kind === undefined ? "" : `${kind}, `}HTTP ${status})`;
  return { reason: printable(reason), ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

function problemOf(body: string): { type?: string; detail?: string } {
  try {
    const { type, detail } = Object(JSON.parse(body));
    return { ...(typeof type === "string" && { type }), ...(typeof detail === "string" && { detail }) };
  } catch {
    return {};
  }
}

/** Somebody else's words, fit for one line of the log. */
export function printable(words: string): string {
  return words.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").slice(0, MAX_WORDS);
}
