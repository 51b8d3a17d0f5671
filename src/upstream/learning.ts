import type { Protocol } from "../session/protocol.ts";
import { Silent, type UpstreamConnection } from "./connection.ts";
import type { Connect } from "./connector.ts";
import type { Header, Introduction } from "./identity.ts";

/** One service to ask. */
export interface Asked {
  readonly name: string;
  readonly protocol: Protocol;
  readonly connect: Connect;
  readonly introduction: Introduction;
}

export interface Learning {
  /** Settles when every backend has answered, failed or run out of time; never rejects. */
  readonly firstRound: Promise<void>;
  stop(): void;
}

/** Backends that nobody signs in at are asked again so often, in milliseconds. */
const INTERVAL = 60_000;
const CONVERSATION = 5_000;
/** A silence as long as this is one that waits for a header; Postfix gives up waiting for one after five seconds. */
const SILENCE = 4_500;

/**
 * Asks each backend what it offers before login, now and once a minute, so that the greeting says what is
 * true before the first login and after a backend's upgrade; and how it wants to be told who the client is, as
 * often as what was known about that fails. `report` hears of changes between answering and not.
 */
export function startLearning(
  asked: readonly Asked[],
  report: (name: string, error: Error | undefined) => void,
): Learning {
  const stopped = new AbortController();
  const failing = new Set<string>();
  const underWay = new Map<string, Promise<void>>();
  const askAndTell = async (service: Asked): Promise<void> => {
    const error = await ask(service, stopped.signal);
    underWay.delete(service.name);
    if (stopped.signal.aborted || (error !== undefined) === failing.has(service.name)) return;
    if (error) failing.add(service.name);
    else failing.delete(service.name);
    report(service.name, error);
  };
  const once = (service: Asked): Promise<void> => {
    const asking = underWay.get(service.name) ?? askAndTell(service);
    underWay.set(service.name, asking);
    service.introduction.searching(asking);
    return asking;
  };
  const round = async (): Promise<void> => {
    await Promise.all(asked.map(once));
  };
  for (const service of asked) {
    service.introduction.doubted = () => {
      if (!stopped.signal.aborted) void once(service);
    };
  }
  const timer = setInterval(() => void round(), INTERVAL).unref();
  return {
    firstRound: round(),
    stop() {
      clearInterval(timer);
      stopped.abort();
    },
  };
}

/**
 * One whole asking: with the header that is known to be wanted, else with each that may be. Returns why not; `met`
 * sees a connection that was good.
 */
export async function ask(
  asked: Asked,
  signal: AbortSignal,
  met: (upstream: UpstreamConnection) => void = () => {},
): Promise<Error | undefined> {
  const service = { ...asked, met };
  const { introduction } = service;
  const known = introduction.header;
  const failed = known === undefined ? undefined : await converse(service, known, CONVERSATION, signal);
  if (known !== undefined && !failed) return undefined;
  // Without a header there is nothing to find out from a backend that did speak.
  if (known === "none" && !(failed instanceof Silent)) return failed;
  return (await search(service, signal)) ?? failed;
}

interface Asking extends Asked {
  readonly met: (upstream: UpstreamConnection) => void;
}

/** A header only goes to a backend that without one says nothing. */
async function search(service: Asking, signal: AbortSignal): Promise<Error | undefined> {
  const { introduction } = service;
  let first: Error | undefined;
  for (const header of introduction.candidates) {
    const error = await converse(service, header, SILENCE, signal);
    first ??= error;
    if (error instanceof Silent) continue;
    if (error || !(await isCertain(service, header, signal))) return first;
    introduction.found(header);
    return undefined;
  }
  return first;
}

/** The first version is plain text, which a server that was only slow before may take for a command. */
async function isCertain(service: Asking, header: Header, signal: AbortSignal): Promise<boolean> {
  return header !== "proxy-v1" || (await converse(service, "none", SILENCE, signal)) instanceof Silent;
}

async function converse(
  { protocol, connect, met }: Asking,
  header: Header,
  conversationMs: number,
  signal: AbortSignal,
): Promise<Error | undefined> {
  try {
    await using upstream = await connect({ signal, conversationMs, header });
    upstream.learned(await upstream.open(() => protocol.openUpstream(upstream)));
    met(upstream);
    await upstream.converse(() => protocol.leaveUpstream(upstream));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
