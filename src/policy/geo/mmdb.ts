import { printable } from "../../wire/printable.ts";
import { MmdbValues } from "./mmdb-values.ts";

const MARKER = Buffer.concat([Buffer.from("abcdef", "hex"), Buffer.from("MaxMind.com")]);
/** The metadata stands within so many bytes of the end. */
const METADATA_BYTES = 128 * 1024;
/** Between the tree and the records. */
const GAP = 16;
const RECORD_BITS: readonly number[] = [24, 28, 32];
const MOST_NODES = 200_000;
/** Of any Date. */
const LAST_SECOND = 8.64e12;
const LONGEST_TYPE = 80;

/**
 * A database in MaxMind's format (maxmind.github.io/MaxMind-DB, version 2): a tree of address bits, whose leaves point
 * to records. Written here and not taken from mmdb-lib: that builds whatever it finds as large as it says it is, so
 * that a file of ten kilobytes can take all memory there is, and it builds whole records where we want one word.
 */
export class Mmdb {
  /** As its maker calls it, such as GeoLite2-Country. */
  readonly type: string;
  readonly builtAt: Date;
  readonly #bytes: Buffer;
  readonly #values: MmdbValues;
  readonly #nodes: number;
  readonly #recordBits: number;
  readonly #ofIpv6: boolean;
  readonly #ipv4Root: number;

  /** Looks at nothing but the metadata. Throws, in an operator's words, for what is no such file. */
  constructor(bytes: Buffer) {
    const tail = bytes.subarray(Math.max(0, bytes.length - METADATA_BYTES));
    const marker = bytes.length - tail.length + tail.lastIndexOf(MARKER);
    if (!tail.includes(MARKER)) throw new Error("is no MaxMind database, or not all of one");
    const metadata = new MmdbValues(bytes, marker + MARKER.length, bytes.length);
    const number = (name: string): number => numberIn(metadata, name);
    this.#bytes = bytes;
    this.#nodes = number("node_count");
    this.#recordBits = number("record_size");
    const version = number("ip_version");
    if (number("binary_format_major_version") !== 2)
      throw new Error("is a MaxMind database of a version that Postern does not know");
    const treeBytes = (this.#nodes * this.#recordBits) / 4;
    const known = RECORD_BITS.includes(this.#recordBits) && (version === 4 || version === 6);
    if (!known || !(this.#nodes > 0) || !(treeBytes + GAP <= marker))
      throw new Error("is a MaxMind database that is not whole");
    this.#values = new MmdbValues(bytes, treeBytes + GAP, marker);
    this.type = printable(String(metadata.read(0, ["database_type"]) ?? "MaxMind database"), LONGEST_TYPE);
    this.builtAt = new Date(Math.min(number("build_epoch") || 0, LAST_SECOND) * 1000);
    this.#ofIpv6 = version === 6;
    this.#ipv4Root = this.#ofIpv6 ? this.#descend(0, Buffer.alloc(12)) : 0;
  }

  /** Where the record of an address (4 or 16 bytes) is; undefined where there is none. */
  find(address: Buffer): number | undefined {
    const isIpv4 = address.length === 4;
    if (!isIpv4 && !this.#ofIpv6) return undefined;
    return this.#recordAt(this.#descend(isIpv4 ? this.#ipv4Root : 0, address));
  }

  /** One text or number of a record. Throws where the file is broken there. */
  read(record: number, path: readonly string[]): string | number | undefined {
    return this.#values.read(record, path);
  }

  /** Whether one of the first records fits. */
  hasRecord(fits: (record: number) => boolean, most: number): boolean {
    const open = [0];
    let seen = 0;
    for (let looked = 0; looked < MOST_NODES && seen < most; looked += 1) {
      const node = open.pop();
      if (node === undefined) return false;
      if (node < this.#nodes) open.push(this.#child(node, 1), this.#child(node, 0));
      const record = this.#recordAt(node);
      if (record === undefined) continue;
      if (fits(record)) return true;
      seen += 1;
    }
    return false;
  }

  /** Down the tree, bit by bit, as far as it goes. */
  #descend(from: number, address: Buffer): number {
    let node = from;
    for (let bit = 0; bit < address.length * 8 && node < this.#nodes; bit += 1)
      node = this.#child(node, ((address[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1);
    return node;
  }

  /** What is beyond the nodes is a record, but for one number, which says that there is none. */
  #recordAt(node: number): number | undefined {
    return node >= this.#nodes + GAP ? node - this.#nodes - GAP : undefined;
  }

  #child(node: number, side: number): number {
    const at = (node * this.#recordBits) / 4;
    if (this.#recordBits === 24) return this.#bytes.readUIntBE(at + side * 3, 3);
    if (this.#recordBits === 32) return this.#bytes.readUInt32BE(at + side * 4);
    // 28: the byte in the middle has the highest four bits of both.
    const middle = this.#bytes.readUInt8(at + 3);
    const high = side === 0 ? middle >> 4 : middle & 15;
    return high * 2 ** 24 + this.#bytes.readUIntBE(at + side * 4, 3);
  }
}

/** A number of the metadata; NaN where there is none. */
function numberIn(metadata: MmdbValues, name: string): number {
  try {
    const value = metadata.read(0, [name]);
    return typeof value === "number" ? value : Number.NaN;
  } catch {
    return Number.NaN;
  }
}
