interface Thing {
  readonly what: string;
  until: number;
}

export interface RememberedOptions {
  readonly subjects: number;
  /** How many things of each subject. */
  readonly each: number;
  readonly ms: number;
}

/** A few things of each of many subjects, each for a time; what was seen longest ago makes room. */
export class Remembered {
  readonly #subjects = new Map<string, Thing[]>();
  readonly #options: RememberedOptions;

  constructor(options: RememberedOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#subjects.size;
  }

  has(subject: string, what: string, now: number): boolean {
    const things = this.#subjects.get(subject);
    return things?.some((thing) => thing.what === what && thing.until > now) ?? false;
  }

  /** Remembers it from now on, anew if it is remembered already. */
  add(subject: string, what: string, now: number): void {
    const { subjects, each, ms } = this.#options;
    const others = (this.#subjects.get(subject) ?? []).filter(
      (thing) => thing.what !== what && thing.until > now,
    );
    others.push({ what, until: now + ms });
    this.#subjects.delete(subject);
    this.#subjects.set(subject, others.slice(-each));
    if (this.#subjects.size > subjects) this.#subjects.delete(this.#subjects.keys().next().value as string);
  }
}
