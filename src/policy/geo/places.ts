import type { GeoKind } from "./database.ts";

/** Where an address is; a part that no database is configured for is absent. */
export interface Place {
  /** Two letters, or `unknown`. */
  readonly country?: string;
  /** Such as `AS64500`, or `unknown`. */
  readonly asn?: string;
}

/** Says where addresses are. */
export interface Places {
  /** What is known of an address at all. */
  readonly kinds: readonly GeoKind[];
  /** Another number whenever an answer may be another than before. */
  readonly edition: number;
  find(address: string): Place;
}

/** The configured files. */
export type GeoPaths = { readonly [Kind in GeoKind]?: string | undefined };

const KINDS: readonly GeoKind[] = ["country", "asn"];

export function kindsOf(paths: GeoPaths): GeoKind[] {
  return KINDS.filter((kind) => paths[kind] !== undefined);
}

/** What is in use of each kind now. */
export type Sources = {
  readonly [Kind in GeoKind]?: { readonly edition: number; find(address: string): string };
};

export function placesOf(sources: Sources): Places {
  const kinds = KINDS.filter((kind) => sources[kind]);
  return {
    kinds,
    get edition() {
      return kinds.reduce((sum, kind) => sum + (sources[kind]?.edition ?? 0), 0);
    },
    find: (address) =>
      Object.fromEntries(kinds.map((kind) => [kind, sources[kind]?.find(address)])) satisfies Place,
  };
}

/** Of which only is known what could be known. */
export function placesUnread(paths: GeoPaths): Places {
  return { kinds: kindsOf(paths), edition: 0, find: () => ({}) };
}
