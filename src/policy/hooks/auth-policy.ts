import { HttpClient, HttpFailure } from "../../io/http-client.ts";
import { Refused } from "../../refusal.ts";
import { printable } from "../../wire/printable.ts";
import { canonical } from "../limit-key.ts";
import {
  ALLOW,
  type Answer,
  type Hook,
  type HookedTry,
  HookFailure,
  type HookObserver,
  type Try,
  type TryEnd,
} from "./hook.ts";
import { type HashOptions, passwordHash } from "./password-hash.ts";

export interface AuthPolicyOptions {
  readonly name: string;
  readonly url: string;
  /** Secret: the headers by which the server knows us. */
  readonly headers: Readonly<Record<string, string>>;
  readonly ca?: string;
  readonly hash: HashOptions;
  readonly before: boolean;
  readonly after: boolean;
  readonly report: boolean;
  readonly timeoutMs: number;
  /** The longest time that a client is made to wait. */
  readonly maxDelayMs: number;
}

/** Dovecot has a hundred for all of its sessions. */
const CONNECTIONS = 50;
const REPORT_CONNECTIONS = 10;
/** More than Guard lets through, and so many reports. */
const MAX_PENDING = 1_000;
/** An answer is a number and a few words. */
const MAX_ANSWER = 64 * 1024;

/** Its words for protocols: those of weakforced, which Postfix says too when it asks Dovecot. */
const PROTOCOLS: Readonly<Record<string, string>> = { submission: "smtp" };

/** The words for why a try failed. */
const FAIL_TYPES: Readonly<Record<Exclude<TryEnd, "right">, string>> = {
  wrong: "credentials",
  unknownName: "account",
  notAllowed: "disabled",
  refusedByHook: "policy",
};

/** Asks weakforced, or whoever else understands Dovecot's auth policy requests. */
export class AuthPolicyHook implements Hook {
  readonly #options: AuthPolicyOptions;
  readonly #observer: HookObserver;
  readonly #questions: HttpClient;
  readonly #reports: HttpClient;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #sending = new Set<Promise<void>>();

  constructor(options: AuthPolicyOptions, observer: HookObserver) {
    this.#options = options;
    this.#observer = observer;
    const { timeoutMs, ca } = options;
    const bounds = {
      timeoutMs,
      maxPending: MAX_PENDING,
      maxAnswerBytes: MAX_ANSWER,
      ...(ca !== undefined && { ca }),
    };
    this.#questions = new HttpClient({ ...bounds, connections: CONNECTIONS });
    this.#reports = new HttpClient({ ...bounds, connections: REPORT_CONNECTIONS });
    this.#headers = { ...options.headers, "content-type": "application/json", accept: "application/json" };
  }

  attempt(one: Try): HookedTry {
    const { before, after, report } = this.#options;
    const request = this.#describe(one);
    return {
      ...(before && { before: () => this.#allow(request) }),
      // Behind a right password a tarpit would keep nobody off.
      ...(after && { after: async () => withoutDelay(await this.#allow(request)) }),
      ...(report && { report: (end: TryEnd) => this.#report(request, end) }),
    };
  }

  /** What is on its way may arrive: each ends in its time. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sending);
    await Promise.all([this.#questions[Symbol.asyncDispose](), this.#reports[Symbol.asyncDispose]()]);
  }

  #describe({ facts, caller, password }: Try): Readonly<Record<string, unknown>> {
    const { user = "", protocol, listener } = facts;
    const name = canonical(user);
    return {
      login: name,
      remote: caller.address,
      pwhash: passwordHash(this.#options.hash, name, password),
      protocol: PROTOCOLS[protocol] ?? protocol,
      tls: caller.tls !== undefined,
      device_id: caller.device ?? "",
      session_id: caller.session,
      attrs: {
        listener,
        local: caller.local.address,
        ...(caller.mechanism !== undefined && { mechanism: caller.mechanism }),
        ...(caller.tls?.serverName !== undefined && { sni: caller.tls.serverName }),
      },
    };
  }

  async #allow(request: Readonly<Record<string, unknown>>): Promise<Answer> {
    const body = await this.#post(this.#questions, "allow", request);
    return this.#read(body);
  }

  /** `{"status": -1 | 0 | seconds, "msg": "…"}`. */
  #read(body: string): Answer {
    const { name, maxDelayMs } = this.#options;
    const { status, msg } = parse(body);
    if (!Number.isSafeInteger(status)) throw new HookFailure("malformed", "an answer without a status");
    const seconds = status as number;
    if (seconds === 0) return ALLOW;
    if (seconds > 0) return { kind: "delay", ms: Math.min(seconds * 1_000, maxDelayMs) };
    const why = typeof msg === "string" && msg !== "" ? `: ${printable(msg)}` : "";
    // As Dovecot has it: a guesser learns neither that he was noticed, nor that his guess was right.
    return { kind: "refuse", refused: new Refused("badCredential", `hook ${name} says no${why}`) };
  }

  #report(request: Readonly<Record<string, unknown>>, end: TryEnd): void {
    const outcome = {
      success: end === "right",
      policy_reject: end === "refusedByHook",
      ...(end !== "right" && { fail_type: FAIL_TYPES[end] }),
    };
    const { name } = this.#options;
    const sending = this.#post(this.#reports, "report", { ...request, ...outcome }).then(
      () => this.#observer.reported(name, "sent"),
      (error: unknown) => {
        const dropped = error instanceof HookFailure && error.kind === "busy";
        this.#observer.reported(name, dropped ? "dropped" : "failed");
      },
    );
    this.#sending.add(sending);
    void sending.then(() => this.#sending.delete(sending));
  }

  async #post(client: HttpClient, command: string, request: object): Promise<string> {
    const answer = await client
      .post(withCommand(this.#options.url, command), JSON.stringify(request), this.#headers)
      .catch((error: unknown) => {
        if (error instanceof HttpFailure) throw new HookFailure(error.kind, error.message, { cause: error });
        throw error;
      });
    // 201 and 204 are fine for a report; a redirect leads to somebody whom no operator has named.
    if (answer.status < 200 || answer.status > 299)
      throw new HookFailure("status", `it answers with HTTP status ${answer.status}`);
    return answer.body;
  }
}

function withoutDelay(answer: Answer): Answer {
  return answer.kind === "delay" ? ALLOW : answer;
}

function parse(body: string): { readonly status?: unknown; readonly msg?: unknown } {
  try {
    return Object(JSON.parse(body));
  } catch (error) {
    throw new HookFailure("malformed", "an answer that is not JSON", { cause: error });
  }
}

/** Whatever query the operator's URL has stays. */
function withCommand(text: string, command: string): URL {
  const url = new URL(text);
  url.search =
    url.search === "" ? `?command=${command}` : `${url.search.replace(/&$/, "")}&command=${command}`;
  return url;
}
