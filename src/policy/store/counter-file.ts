import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { readBytesIfThere, replaceFile } from "../../io/whole-file.ts";
import { SECRET_BYTES } from "./digests.ts";
import type { Rows } from "./slots.ts";

/** A part of one table. */
export interface KeptRows {
  readonly table: number;
  readonly rows: Rows;
}

/** A store whose counters end with its process, unless they are kept. */
export interface KeepsCounters {
  readonly secret: Uint8Array;
  readonly counterTables: number;
  keepCounters(): Iterable<KeptRows>;
  restoreSecret(secret: Uint8Array): void;
  restoreCounters(kept: KeptRows, agoMs: number): void;
}

interface Block extends KeptRows {
  readonly writtenAt: number;
}

/*
 * The file, in the byte order of the machine, everything in steps of eight bytes:
 *   "postern#"  version u32, blocks' end u32 (0xffffffff)  secret, 32 bytes
 *   blocks:     table u32, rows u32, written at f64 (ms since 1970), then by column: high u32, low u32, left f64 (ms),
 *               taken f64
 *   the end:    0xffffffff u32, CRC-32 u32 of all before it
 * Keys are in it as 64 bits of a hash with the secret: it names nobody, but who has the file can try names.
 */
const MAGIC = Buffer.from("postern#");
const VERSION = 1;
const END = 0xffffffff;
const HEAD = MAGIC.length + 8 + SECRET_BYTES;
const BLOCK_HEAD = 16;
const ROW = 24;
const TRAILER = 8;
/** More than a store that is full has. */
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * Takes the counters of a file for the store's; false where there is none. Throws when it cannot be read or is broken,
 * and then the store is as it was. Times in it are by the wall clock; where that went back since, a window lasts no
 * longer than it would have when it was written.
 */
export async function readCounters(path: string, store: KeepsCounters): Promise<boolean> {
  const found = await readBytesIfThere(path, MAX_BYTES);
  if (found === undefined) return false;
  // Columns are looked at in place, and so have to begin where numbers can.
  const bytes = found.byteOffset % 8 === 0 ? found : Buffer.from(new Uint8Array(found).buffer);
  const secret = secretOf(bytes);
  const blocks: Block[] = [];
  for (const block of blocksOf(bytes, store.counterTables)) {
    blocks.push(block);
    await turn();
  }
  store.restoreSecret(secret);
  for (const block of blocks) {
    store.restoreCounters(block, Math.max(0, Date.now() - block.writtenAt));
    await turn();
  }
  return true;
}

/** Whoever reads, and whenever the power fails: the old counters whole, or these whole. For us alone. */
export async function writeCounters(path: string, store: KeepsCounters): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await replaceFile(path, inBlocks(store));
}

/** Others have their turn while each is written: none of them takes long to make. */
function* inBlocks(store: KeepsCounters): Iterable<Uint8Array> {
  const head = Buffer.concat([MAGIC, bytesOf(Uint32Array.of(VERSION, END)), store.secret]);
  let sum = crc32(head);
  yield head;
  for (const { table, rows } of store.keepCounters()) {
    const { high, low, leftMs, taken } = rows;
    if (high.length === 0) continue;
    const start = [bytesOf(Uint32Array.of(table, high.length)), bytesOf(Float64Array.of(Date.now()))];
    const block = Buffer.concat([...start, ...[high, low, leftMs, taken].map(bytesOf)]);
    sum = crc32(block, sum);
    yield block;
  }
  const end = bytesOf(Uint32Array.of(END));
  yield Buffer.concat([end, bytesOf(Uint32Array.of(crc32(end, sum)))]);
}

function secretOf(bytes: Buffer): Uint8Array {
  if (bytes.length < HEAD + TRAILER || !bytes.subarray(0, MAGIC.length).equals(MAGIC))
    throw new Error("it holds no counters");
  const [version, end] = numbers(bytes, MAGIC.length, 2);
  if (version !== VERSION || end !== END) throw new Error("it is of another version of Postern");
  return bytes.subarray(HEAD - SECRET_BYTES, HEAD);
}

function* blocksOf(bytes: Buffer, tables: number): Iterable<Block> {
  let sum = crc32(bytes.subarray(0, HEAD));
  let at = HEAD;
  while (at + TRAILER < bytes.length) {
    const block = blockAt(bytes, at, tables);
    const next = at + BLOCK_HEAD + block.rows.high.length * ROW;
    sum = crc32(bytes.subarray(at, next), sum);
    yield block;
    at = next;
  }
  const [end, told] = at + TRAILER === bytes.length ? numbers(bytes, at, 2) : [];
  if (end !== END || told !== crc32(bytes.subarray(at, at + 4), sum)) throw new Error("it is damaged");
}

function blockAt(bytes: Buffer, at: number, tables: number): Block {
  if (at + BLOCK_HEAD + TRAILER > bytes.length) throw new Error("it ends too early");
  const [table = 0, count = 0] = numbers(bytes, at, 2);
  if (at + BLOCK_HEAD + count * ROW + TRAILER > bytes.length) throw new Error("it ends too early");
  const [writtenAt = Number.NaN] = reals(bytes, at + 8, 1);
  const columns = at + BLOCK_HEAD;
  const rows = {
    high: numbers(bytes, columns, count),
    low: numbers(bytes, columns + count * 4, count),
    leftMs: reals(bytes, columns + count * 8, count),
    taken: reals(bytes, columns + count * 16, count),
  };
  const isSound = areAmounts(rows.leftMs) && areAmounts(rows.taken) && Number.isFinite(writtenAt);
  if (table >= tables || !isSound) throw new Error("it is damaged");
  return { table, writtenAt, rows };
}

function areAmounts(column: Float64Array): boolean {
  for (const number of column) if (!(number >= 0 && number < Number.POSITIVE_INFINITY)) return false;
  return true;
}

function numbers(bytes: Buffer, at: number, count: number): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset + at, count);
}

function reals(bytes: Buffer, at: number, count: number): Float64Array {
  return new Float64Array(bytes.buffer, bytes.byteOffset + at, count);
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array | Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
