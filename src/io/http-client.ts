import { Agent, errors } from "undici";

export interface HttpClientOptions {
  /** One request and its answer may take so long, in milliseconds; waiting for a connection counts. */
  readonly timeoutMs: number;
  /** Connections at once. */
  readonly connections: number;
  /** Requests under way and waiting; one more fails at once. */
  readonly maxPending: number;
  /** Bytes of an answer. */
  readonly maxAnswerBytes: number;
  /** Authorities in PEM, instead of the system's. */
  readonly ca?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** Why there is no answer; the message is for the log. */
export class HttpFailure extends Error {
  readonly kind: "timeout" | "connect" | "busy" | "tooLarge" | "broken";

  constructor(kind: HttpFailure["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/**
 * Asks servers by HTTP on behalf of others: bounded in time, size and number, with connections that are kept. It
 * follows no redirect and unpacks no body, so an answer is what the server itself said, in so many bytes.
 */
export class HttpClient implements AsyncDisposable {
  readonly #agent: Agent;
  readonly #options: HttpClientOptions;
  #pending = 0;

  constructor(options: HttpClientOptions) {
    const { timeoutMs, connections, ca } = options;
    this.#options = options;
    this.#agent = new Agent({
      connections,
      pipelining: 1,
      connect: { timeout: timeoutMs, ...(ca !== undefined && { ca }) },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
  }

  /** Requests under way and waiting. */
  get pending(): number {
    return this.#pending;
  }

  /** Sends a body; whatever status comes back is an answer. Rejects with HttpFailure. */
  async post(url: URL, body: string, headers: Readonly<Record<string, string>>): Promise<HttpAnswer> {
    const { maxPending, timeoutMs } = this.#options;
    if (this.#pending >= maxPending)
      throw new HttpFailure("busy", `${this.#pending} requests wait already for an answer`);
    this.#pending += 1;
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const { origin, pathname, search } = url;
      const answer = await this.#agent.request({
        ...{ origin, path: pathname + search, method: "POST", headers, body, signal },
      });
      return { status: answer.statusCode, body: await this.#read(answer.body) };
    } catch (error) {
      throw failureOf(error, signal, timeoutMs);
    } finally {
      this.#pending -= 1;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #read(body: AsyncIterable<Buffer>): Promise<string> {
    const { maxAnswerBytes } = this.#options;
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body) {
      size += chunk.length;
      if (size > maxAnswerBytes)
        throw new HttpFailure("tooLarge", `the answer is longer than ${maxAnswerBytes} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
  }
}

function failureOf(error: unknown, signal: AbortSignal, timeoutMs: number): HttpFailure {
  if (error instanceof HttpFailure) return error;
  const cause = { cause: error };
  if (signal.aborted) return new HttpFailure("timeout", `no answer in ${timeoutMs} ms`, cause);
  const first = error instanceof AggregateError ? error.errors[0] : error;
  const words = first instanceof Error ? first.message : String(first);
  const neverThere = error instanceof errors.ConnectTimeoutError || "syscall" in Object(first);
  return new HttpFailure(neverThere ? "connect" : "broken", words, cause);
}
