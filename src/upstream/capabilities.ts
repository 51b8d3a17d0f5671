/**
 * What the backends offer before login, as they said it last: the greeting to a client whose backend nobody
 * knows yet names what all of them have.
 */
export class CapabilityBoard {
  readonly #known = new Map<string, Map<string, readonly string[]>>();
  readonly #common = new Map<string, readonly string[]>();

  learn(protocol: string, backend: string, capabilities: readonly string[]): void {
    const known = this.#known.get(protocol) ?? new Map<string, readonly string[]>();
    const before = known.get(backend);
    if (
      before &&
      before.length === capabilities.length &&
      before.every((one, at) => one === capabilities[at])
    )
      return;
    this.#known.set(protocol, known.set(backend, capabilities));
    const [first = [], ...others] = known.values();
    this.#common.set(
      protocol,
      first.filter((capability) => others.every((list) => list.includes(capability))),
    );
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
