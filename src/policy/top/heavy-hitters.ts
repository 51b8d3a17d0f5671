export interface Hitter {
  readonly key: string;
  readonly count: number;
  /** How much of the count may be others' whose place it took. */
  readonly error: number;
}

interface Place {
  key: string;
  count: number;
  error: number;
  /** Where it is in the heap. */
  at: number;
}

/**
 * The keys that are counted most, among any number of them, in so many places (Metwally and others, Space-Saving,
 * 2005): a new key takes the place of the least and begins with its count. Whoever has more than the sum divided by the
 * places is among them. The places are a heap, the least first.
 */
export class HeavyHitters {
  readonly #places: number;
  readonly #known = new Map<string, Place>();
  readonly #heap: Place[] = [];

  constructor(places: number) {
    this.#places = places;
  }

  add(key: string, by: number): void {
    const place = this.#known.get(key) ?? this.#placeFor(key);
    place.count += by;
    this.#sink(place);
  }

  all(): Hitter[] {
    return this.#heap.map(({ key, count, error }) => ({ key, count, error }));
  }

  #placeFor(key: string): Place {
    let place: Place;
    if (this.#heap.length < this.#places) {
      place = { key, count: 0, error: 0, at: this.#heap.length };
      this.#heap.push(place);
      this.#rise(place);
    } else {
      place = this.#heap[0] as Place;
      this.#known.delete(place.key);
      place.key = key;
      place.error = place.count;
    }
    this.#known.set(key, place);
    return place;
  }

  #rise(place: Place): void {
    for (
      let parent = this.#heap[(place.at - 1) >> 1];
      place.at > 0;
      parent = this.#heap[(place.at - 1) >> 1]
    ) {
      if (!parent || parent.count <= place.count) return;
      this.#swap(place, parent);
    }
  }

  #sink(place: Place): void {
    for (;;) {
      const left = this.#heap[2 * place.at + 1];
      const right = this.#heap[2 * place.at + 2];
      const least = right && left && right.count < left.count ? right : left;
      if (!least || least.count >= place.count) return;
      this.#swap(least, place);
    }
  }

  #swap(one: Place, other: Place): void {
    [one.at, other.at] = [other.at, one.at];
    this.#heap[one.at] = one;
    this.#heap[other.at] = other;
  }
}
