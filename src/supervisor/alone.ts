import type { Carrier } from "./carrier.ts";
import type { Crew } from "./crew.ts";
import { type Hand, HandOver, type HandOverOptions } from "./hand-over.ts";

export interface AloneOptions extends Omit<HandOverOptions, "hands"> {
  readonly carrier: Carrier;
  readonly maxSessions: number;
}

/** A crew of one, in this very process: what crosses between processes elsewhere is a call here. */
export function alone({ carrier, maxSessions, ...options }: AloneOptions): Crew {
  // Counted here and not read from the carrier: a connection that owes a header is not a session yet.
  let load = 0;
  const hand: Hand = {
    get load() {
      return load;
    },
    get free() {
      return load < maxSessions;
    },
    give(listener, socket) {
      load += 1;
      void carrier.accept(listener, socket).finally(() => {
        load -= 1;
        handOver.look();
      });
    },
  };
  const handOver = new HandOver({ ...options, hands: () => [hand] });
  return {
    ready: true,
    size: 0,
    get waiting() {
      return handOver.waiting;
    },
    take: (listener, socket) => handOver.take(listener, socket),
    async prepare(config) {
      const problem = await carrier.prepare(config);
      return problem === undefined ? [] : [problem];
    },
    commit: () => carrier.commit(),
    abandon: () => carrier.abandon(),
    metrics: async () => [await carrier.metrics()],
    list: (filter, limit) => carrier.list(filter, limit),
    kick: (filter) => carrier.kick(filter),
    async stop(drainMs, quietMs) {
      handOver.close();
      await carrier.stop(drainMs, quietMs);
    },
    kill() {},
  };
}
