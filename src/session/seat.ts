import type { Policy } from "../policy/engine.ts";
import type { Session } from "./session.ts";

/** The place of whoever is the session's peer now. */
export class Seat implements AsyncDisposable {
  readonly #policy: Policy;
  #lease: AsyncDisposable | undefined;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  /** A trusted proxy itself takes none: all its clients would share it. */
  async take(session: Session): Promise<void> {
    await this[Symbol.asyncDispose]();
    if (session.peer.proxy) return;
    this.#lease = await this.#policy.connection(session.facts, session.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.[Symbol.asyncDispose]();
  }
}
