import type { Socket } from "node:net";
import { writeKept } from "../io/borrowed.ts";
import type { Detached } from "../io/channel.ts";
import { Refused } from "../refusal.ts";
import type { IdleWatch } from "./idle-watch.ts";
import { Valve } from "./valve.ts";

const LF = 0x0a;
/** How long a client may take to read what is left for it once its backend has gone, in milliseconds. */
const LINGER = 5_000;

export interface RelayEnds {
  readonly client: Detached;
  readonly upstream: Detached;
}

/** A relay under way. */
export interface Relay {
  /** Settles when both sides are closed; says why the session ended, never throws. */
  readonly done: Promise<string>;
  /** Bytes from and to the client so far, those before the relay included. */
  bytes(): { in: number; out: number };
  /** Ends it by our will, with `farewell` to the client where nothing is half said to it. */
  stop(refused: Refused): void;
  /** Lets so many bytes a second pass from (in) and to (out) the client; undefined: as many as come. */
  slow(rates: { readonly in?: number; readonly out?: number } | undefined): void;
}

/**
 * Moves bytes both ways, as they came, until both sides are closed. A side that takes nothing stops the other
 * side's reading; one side's FIN is passed on while the other still talks; a side that breaks takes the
 * other with it. Nothing happens per chunk but the write itself.
 */
export function startRelay(
  ends: RelayEnds,
  watch: IdleWatch,
  farewell: (refused: Refused) => string | undefined,
): Relay {
  const client = ends.client.socket;
  const upstream = ends.upstream.socket;
  let reason = "";
  let lastByte = ends.upstream.rest.at(-1) ?? LF;
  const because = (why: string): void => {
    reason ||= why;
  };
  const valves = { in: new Valve(client, upstream), out: new Valve(upstream, client) };
  let stopped = false;
  const stop = (refused: Refused): void => {
    if (stopped) return;
    stopped = true;
    because(refused.refusal.kind);
    // A goodbye inside a literal would be taken for mail, so it is said only where a line has ended.
    const words = lastByte === LF && client.writableLength === 0 ? farewell(refused) : undefined;
    upstream.destroy();
    finish(client, words);
  };
  const done = new Promise<string>((resolve) => {
    let open = 2;
    const closed = (): void => {
      open -= 1;
      if (open > 0) return;
      watch.delete(relay);
      resolve(reason || "closed");
    };
    pass(client, upstream, valves.in);
    client.once("end", () => {
      because("client left");
      endOnce(upstream);
    });
    pass(upstream, client, valves.out, (byte) => {
      lastByte = byte;
    });
    // Whoever serves has the last word: nothing that the client still says would be answered.
    upstream.once("end", () => {
      because("backend closed");
      endOnce(upstream);
      finish(client);
    });
    whenClosed(client, () => {
      because("client left");
      upstream.destroy();
      closed();
    });
    whenClosed(upstream, () => {
      because("backend closed");
      finish(client);
      closed();
    });
  });
  const relay: Relay = {
    done,
    stop,
    slow(rates) {
      valves.in.set(rates?.in);
      valves.out.set(rates?.out);
    },
    bytes: () => ({
      in: ends.client.clearBytes.read + client.bytesRead,
      out: ends.client.clearBytes.written + client.bytesWritten,
    }),
  };
  watch.add(relay, () => stop(new Refused("idle", "no byte moved in time")));
  forward(ends.client.rest, client, upstream);
  forward(ends.upstream.rest, upstream, client);
  // What ended before the relay began says so no second time.
  if (client.readableEnded) endOnce(upstream);
  if (upstream.readableEnded) finish(client);
  client.resume();
  upstream.resume();
  return relay;
}

/** A second `end` would be an error that nobody hears and that still costs its stack. */
function endOnce(socket: Socket): void {
  if (!socket.writableEnded) socket.end();
}

function whenClosed(socket: Socket, callback: () => void): void {
  if (socket.closed) queueMicrotask(callback);
  else socket.once("close", callback);
}

/** The error itself is not ours to report: the close that follows it says all there is to do. */
const ignore = (): void => {};

/** One direction, with back-pressure. */
function pass(from: Socket, to: Socket, valve: Valve, tail?: (byte: number) => void): void {
  from.on("data", (chunk: Buffer) => {
    tail?.(chunk[chunk.length - 1] as number);
    if (!writeKept(chunk, to)) from.pause();
  });
  to.on("drain", () => valve.resume());
  from.on("error", ignore);
}

function forward(rest: Buffer, from: Socket, to: Socket): void {
  if (rest.length > 0 && !to.write(rest)) from.pause();
}

/** FIN behind all that is written, and the end of patience with a peer that does not read it. */
function finish(client: Socket, words?: string): void {
  if (client.destroyed) return;
  if (client.writable && words) client.write(words);
  endOnce(client);
  client.resume();
  const timer = setTimeout(() => client.destroy(), LINGER).unref();
  client.once("end", () => client.destroySoon());
  client.once("close", () => clearTimeout(timer));
}
