import type { Socket } from "node:net";

/** As much as the kernel gives at once, and as much as Node reads by itself. */
const SIZE = 64 * 1024;
/** Below this a block for reuse would hold more room than it saves: what waits for a slow peer is bounded by bytes. */
const SMALL = 32 * 1024;
const MAX_SPARE = 64;

const shared = Buffer.allocUnsafeSlow(SIZE);
const spare: Buffer[] = [];

/**
 * For plain sockets: all of them read into one buffer, so that reading makes no garbage. (Node would make a new
 * buffer of 64 KiB for each read, and V8 collects the whole heap for every few hundred of them.) The bytes of a
 * "data" event are then only lent: they are good until its listeners return.
 */
export function lendingReads(socket: () => Socket) {
  const callback = (length: number): boolean => socket().emit("data", shared.subarray(0, length));
  return { buffer: shared, callback };
}

function isLent(chunk: Buffer): boolean {
  return chunk.buffer === shared.buffer;
}

/** The chunk itself where it is ours, a copy where it is only lent. */
export function keep(chunk: Buffer): Buffer {
  return isLent(chunk) ? Buffer.from(chunk) : chunk;
}

/** Writes the chunk, by way of a block that is used again once it is written where the chunk is only lent. */
export function writeKept(chunk: Buffer, to: Socket): boolean {
  if (!isLent(chunk) || chunk.length < SMALL) return to.write(keep(chunk));
  const block = spare.pop() ?? Buffer.allocUnsafeSlow(SIZE);
  chunk.copy(block);
  return to.write(block.subarray(0, chunk.length), (error) => {
    if (!error && spare.length < MAX_SPARE) spare.push(block);
  });
}
