import type { Channel } from "../../io/channel.ts";
import type { EnvelopeRefusal } from "../../refusal.ts";
import type { BackendLine } from "./backend-line.ts";
import { type ChunkChecker, DataFramer } from "./content.ts";
import type { FromGate } from "./from-header.ts";

/** What content has to be for its end to reach the backend. */
export interface ContentRules {
  readonly bareNewlines: "reject" | "normalise";
  /** Bytes. */
  readonly maxSize: number;
  /** Judges the message's From, where somebody wants to know. */
  readonly gate: FromGate | undefined;
}

/**
 * Streams content behind DATA until its true end; `whole` is called before that end goes out. What spoils a message
 * on the way ends the backend's connection, never the message: the rest is read and forgotten.
 */
export async function passData(
  client: Channel,
  backend: BackendLine,
  { bareNewlines, maxSize, gate }: ContentRules,
  whole: () => void,
): Promise<EnvelopeRefusal | undefined> {
  const framer = new DataFramer(bareNewlines);
  let spoiled: EnvelopeRefusal | undefined;
  await client.pump(backend.channel, (chunk) => {
    const { pieces, used, ended } = framer.push(chunk);
    if (framer.bare && bareNewlines === "reject") spoiled ??= "bareNewline";
    if (framer.size > maxSize) spoiled ??= "messageTooBig";
    const judged = spoiled ? [] : (gate?.admit(pieces, ended) ?? pieces);
    if (judged === "refused") spoiled = "senderNotYours";
    if (spoiled || judged === "refused") backend.abandon();
    else {
      if (ended) whole();
      backend.write(judged);
    }
    return ended ? chunk.subarray(used) : undefined;
  });
  return spoiled;
}

/** Streams the octets of one BDAT chunk, RFC 3030; what spoils them ends the backend's connection. */
export async function passChunk(
  client: Channel,
  backend: BackendLine,
  { size, last }: { readonly size: number; readonly last: boolean },
  { checker, gate }: { readonly checker: ChunkChecker; readonly gate: FromGate | undefined },
): Promise<EnvelopeRefusal | undefined> {
  let spoiled: EnvelopeRefusal | undefined;
  let left = size;
  if (left === 0) return undefined;
  await client.pump(backend.channel, (chunk) => {
    const bytes = chunk.subarray(0, left);
    left -= bytes.length;
    const ended = last && left === 0;
    if (!spoiled) {
      let judged = gate?.admit([bytes], ended) ?? [bytes];
      // The backend waits for the chunk, and we for the header's end: a header belongs into the first chunk.
      if (left === 0 && !ended && gate?.holds) judged = gate.giveUp();
      if (!checker.check(bytes, ended)) spoiled = "bareNewline";
      else if (judged === "refused") spoiled = "senderNotYours";
      else backend.write(judged);
    }
    if (spoiled) backend.abandon();
    return left === 0 ? chunk.subarray(bytes.length) : undefined;
  });
  return spoiled;
}

/** Reads octets that nobody wants, and forgets them. */
export async function swallow(client: Channel, backend: BackendLine, size: number): Promise<void> {
  let left = size;
  if (left === 0) return;
  await client.pump(backend.channel, (chunk) => {
    const taken = Math.min(chunk.length, left);
    left -= taken;
    return left === 0 ? chunk.subarray(taken) : undefined;
  });
}
