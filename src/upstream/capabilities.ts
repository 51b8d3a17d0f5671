/**
 * What the backends offer before login, as they said it last: the greeting to a client whose backend nobody
 * knows yet names what all of them have.
 */
export class CapabilityBoard {
  readonly #known = new Map<string, Map<string, readonly string[]>>();
  readonly #common = new Map<string, readonly string[]>();

  /** Whether this is news. */
  learn(protocol: string, backend: string, capabilities: readonly string[]): boolean {
    const known = this.#known.get(protocol) ?? new Map<string, readonly string[]>();
    const before = known.get(backend);
    if (
      before &&
      before.length === capabilities.length &&
      before.every((one, at) => one === capabilities[at])
    )
      return false;
    this.#known.set(protocol, known.set(backend, capabilities));
    const [first = [], ...others] = known.values();
    this.#common.set(
      protocol,
      first.filter((capability) => others.every((list) => list.includes(capability))),
    );
    return true;
  }

  /** Offered by every backend of the protocol that has been heard; empty while none has. */
  common(protocol: string): readonly string[] {
    return this.#common.get(protocol) ?? [];
  }

  /** What each of them said, for a protocol that knows better how to sum it up. */
  each(protocol: string): readonly (readonly string[])[] {
    return [...(this.#known.get(protocol)?.values() ?? [])];
  }
}

/** What one backend offers before login. */
export interface Offer {
  readonly protocol: string;
  readonly backend: string;
  readonly capabilities: readonly string[];
}

/** The offers that any process has heard: one that begins later need not ask before its first greeting. */
export class Offers {
  readonly #known = new Map<string, Offer>();

  get all(): readonly Offer[] {
    return [...this.#known.values()];
  }

  /** Whether this is news. */
  learn(offer: Offer): boolean {
    const key = JSON.stringify([offer.protocol, offer.backend]);
    if (String(this.#known.get(key)?.capabilities) === String(offer.capabilities)) return false;
    this.#known.set(key, offer);
    return true;
  }
}
