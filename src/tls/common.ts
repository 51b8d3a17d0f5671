import { isDeepStrictEqual } from "node:util";
import type { CertificateStore } from "./certificate-store.ts";
import type { KeyPair } from "./key-pair.ts";
import type { TicketSecret } from "./tickets.ts";

/** What all processes that serve one address show their clients alike, beside what each reads from files. Secret. */
export interface CommonState {
  readonly tickets: Uint8Array;
  /** By ACME. */
  readonly acme: readonly KeyPair[];
  /** Made by ourselves, for trying out or until there is one by ACME. */
  readonly own: readonly KeyPair[];
  /** By server name: what a certification authority has to see now. */
  readonly challenges: Readonly<Record<string, KeyPair>>;
}

/** That state in one process, and who hears when it changes: stores of certificates, and other processes. */
export class CommonTls {
  readonly #listeners = new Set<(state: CommonState) => void>();
  #state: CommonState;

  constructor(state: CommonState) {
    this.#state = state;
  }

  get state(): CommonState {
    return this.#state;
  }

  change(part: Partial<CommonState>): void {
    this.#state = { ...this.#state, ...part };
    for (const listener of this.#listeners) listener(this.#state);
  }

  /** Calls back after each change; the returned function takes that back. */
  onChange(listener: (state: CommonState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** RFC 8737 3, in every process; until disposed of. */
  answerChallenge(serverName: string, pair: KeyPair): Disposable {
    this.change({ challenges: { ...this.#state.challenges, [serverName]: pair } });
    return {
      [Symbol.dispose]: () => {
        const { [serverName]: _answered, ...others } = this.#state.challenges;
        this.change({ challenges: others });
      },
    };
  }

  /** Keeps a store and its tickets up to date, until disposed of. */
  follow(store: CertificateStore, tickets: TicketSecret): Disposable {
    const answered = new Map<string, Disposable>();
    let before: Partial<CommonState> = {};
    const apply = (now: CommonState): void => {
      // A change of tickets makes all contexts anew, and those are not for nothing.
      if (!isDeepStrictEqual(before.tickets, now.tickets)) tickets.adopt(now.tickets);
      if (!isDeepStrictEqual(before.acme, now.acme)) store.setPairs("acme", now.acme);
      if (!isDeepStrictEqual(before.own, now.own)) store.setPairs("selfSigned", now.own);
      for (const [name, answer] of answered) {
        if (name in now.challenges) continue;
        answer[Symbol.dispose]();
        answered.delete(name);
      }
      for (const [name, pair] of Object.entries(now.challenges))
        if (!answered.has(name)) answered.set(name, store.answerChallenge(name, pair));
      before = now;
    };
    apply(this.#state);
    const leave = this.onChange(apply);
    return { [Symbol.dispose]: leave };
  }
}
