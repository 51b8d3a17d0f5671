import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { readIfThere, replaceFile } from "../../io/whole-file.ts";
import type { KeptBan } from "./store.ts";

/** So many bans are kept, the latest, and no file is longer. */
const MOST = 100_000;
const MAX_BYTES = 32 * 1024 * 1024;
/** Bans that become text at once: nobody waits for more. */
const CHUNK = 1_000;
const LONGEST_KEY = 4_096;

/**
 * The bans in a file; none where there is none. Throws when it cannot be read, or is broken. Times in it are by the
 * wall clock; where that went back since, a ban lasts no longer than it would have when it was written.
 */
export async function readBans(path: string): Promise<readonly KeptBan[] | undefined> {
  const text = await readIfThere(path, MAX_BYTES);
  if (text === undefined) return undefined;
  const { writtenAt, bans } = Object(parse(text)) as {
    readonly writtenAt?: unknown;
    readonly bans?: unknown;
  };
  if (!Array.isArray(bans) || bans.length > MOST) throw new Error("it holds no list of bans");
  const from = Math.max(Date.now(), time(writtenAt));
  const kept = bans.map((row) => readRow(Object(row), from));
  return kept.filter(({ forgetInMs }) => forgetInMs > 0).reverse();
}

/** Whoever reads, and whenever the power fails: the old bans whole, or these whole. For us alone. */
export async function writeBans(path: string, kept: readonly KeptBan[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await replaceFile(path, inChunks(kept));
}

/** A line for each ban, the latest first. */
function* inChunks(kept: readonly KeptBan[]): Iterable<string> {
  const now = Date.now();
  // A Postfix may ask about longer names than any client of ours has.
  const latest = kept
    .filter(({ key }) => key.length <= LONGEST_KEY)
    .slice(-MOST)
    .reverse();
  let left = MAX_BYTES - CHUNK;
  yield `{"writtenAt":${JSON.stringify(iso(now))},"bans":[`;
  for (let at = 0; at < latest.length; at += CHUNK) {
    const rows = latest.slice(at, at + CHUNK).map((ban) => writeRow(ban, now));
    const chunk = `${at === 0 ? "" : ","}\n${rows.join(",\n")}`;
    left -= Buffer.byteLength(chunk);
    if (left < 0) break;
    yield chunk;
  }
  yield "\n]}\n";
}

function writeRow({ leftMs, forgetInMs, ...ban }: KeptBan, now: number): string {
  return JSON.stringify({ ...ban, until: iso(now + leftMs), repeatUntil: iso(now + forgetInMs) });
}

function readRow(row: Readonly<Record<string, unknown>>, from: number): KeptBan {
  const { key, by, times, sparesKnown, until, repeatUntil } = row;
  if (typeof key !== "string" || key.length > LONGEST_KEY || !key.includes("=") || typeof by !== "string")
    throw new Error("a ban of nobody");
  if (!Number.isSafeInteger(times) || (times as number) < 1 || typeof sparesKnown !== "boolean")
    throw new Error("a ban that is none");
  const [leftMs, forgetInMs] = [time(until) - from, time(repeatUntil) - from];
  return { key, by, times: times as number, sparesKnown, leftMs, forgetInMs };
}

function time(text: unknown): number {
  const ms = typeof text === "string" ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new Error("a time that is none");
  return ms;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // What the parser says would show some of it.
    throw new Error("it is not JSON");
  }
}
