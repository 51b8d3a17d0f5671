import type { Protocol } from "../session/protocol.ts";
import type { Connect } from "./connector.ts";

/** One service to ask. */
export interface Asked {
  readonly name: string;
  readonly protocol: Protocol;
  readonly connect: Connect;
}

export interface Learning {
  /** Settles when every backend has answered, failed or run out of time; never rejects. */
  readonly firstRound: Promise<void>;
  stop(): void;
}

/** Backends that nobody signs in at are asked again so often, in milliseconds. */
const INTERVAL = 60_000;
const CONVERSATION = 5_000;

/**
 * Asks each backend what it offers before login, now and once a minute, so that the greeting says what is
 * true before the first login and after a backend's upgrade. `report` hears of changes between the two.
 */
export function startLearning(
  asked: readonly Asked[],
  report: (name: string, error: Error | undefined) => void,
): Learning {
  const stopped = new AbortController();
  const failing = new Set<string>();
  const round = async (): Promise<void> => {
    await Promise.all(
      asked.map(async (service) => {
        const error = await ask(service, stopped.signal);
        if (stopped.signal.aborted || (error !== undefined) === failing.has(service.name)) return;
        if (error) failing.add(service.name);
        else failing.delete(service.name);
        report(service.name, error);
      }),
    );
  };
  const timer = setInterval(() => void round(), INTERVAL).unref();
  return {
    firstRound: round(),
    stop() {
      clearInterval(timer);
      stopped.abort();
    },
  };
}

async function ask({ protocol, connect }: Asked, signal: AbortSignal): Promise<Error | undefined> {
  try {
    await using upstream = await connect({ signal, conversationMs: CONVERSATION });
    upstream.learned(await upstream.open(() => protocol.openUpstream(upstream)));
    await upstream.converse(() => protocol.leaveUpstream(upstream));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
