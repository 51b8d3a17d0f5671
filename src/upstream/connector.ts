import { connect as connectTcp, type Socket } from "node:net";
import { lendingReads } from "../io/borrowed.ts";
import { ChannelClosed } from "../io/channel.ts";
import { Refused } from "../refusal.ts";
import type { ClientFacts } from "../session/protocol.ts";
import { type Patience, UpstreamConnection } from "./connection.ts";
import { formatHeader, type Header, Introduction, ourselves } from "./identity.ts";
import { reasonOf } from "./reason.ts";
import { type Trust, tlsWrapper, type Wrap } from "./trust.ts";

/** Where a backend listens for one protocol, as configured. */
export interface Endpoint {
  readonly backend: string;
  readonly protocol: string;
  readonly host: string;
  readonly port: number;
  readonly tls: "none" | "starttls" | "implicit";
  readonly trust: Trust;
  /** The name that we go by, for a HELO. */
  readonly ourName: string;
  /** How it learns who the client is; without it not at all. */
  readonly introduction?: Introduction;
  /** Whose name stands in HELO; ours where nothing is said. */
  readonly helo?: "own" | "client";
}

/** An endpoint with what is made of it once. */
export interface Service extends Endpoint {
  /** For the log. */
  readonly name: string;
  readonly wrap: Wrap | undefined;
  /** Bounds TCP, TLS, and all that the backend says before somebody signs in, each by itself. */
  readonly connectTimeoutMs: number;
  readonly introduction: Introduction;
  readonly learned: (capabilities: readonly string[]) => void;
}

/** For whom a connection is made: for somebody, or for ourselves. */
export interface Waiting extends Patience {
  readonly client?: ClientFacts;
  /** What to send first; without it what the endpoint is known to want. */
  readonly header?: Header;
}

/** Throws only Refused("unavailable"), or ChannelClosed when nobody waits any more. */
export type Connect = (waiting: Waiting) => Promise<UpstreamConnection>;

const KEEP_ALIVE_AFTER = 120_000;

/**
 * How to reach one endpoint, made once per configuration. `learned` hears what the backend offers each time
 * that somebody asks it. Throws when a file of its trust cannot be used.
 */
export function endpointConnector(
  endpoint: Endpoint,
  connectTimeoutMs: number,
  learned: (capabilities: readonly string[]) => void,
): Connect {
  const service: Service = {
    ...endpoint,
    name: `${endpoint.backend} (${endpoint.host} port ${endpoint.port})`,
    wrap: endpoint.tls === "none" ? undefined : tlsWrapper(endpoint.host, endpoint.trust),
    connectTimeoutMs,
    introduction: endpoint.introduction ?? new Introduction("none"),
    learned,
  };
  return async (waiting) => {
    const { signal, conversationMs } = waiting;
    const patience = Math.min(conversationMs, connectTimeoutMs);
    const header = waiting.header ?? (await service.introduction.ready(signal, patience));
    const socket = await openSocket(service, signal);
    const client = waiting.client ?? ourselves(socket, service.ourName);
    const upstream = new UpstreamConnection(socket, service, waiting, { client, header });
    const first = formatHeader(header, client);
    // Before TLS, and before the backend has said anything.
    if (first) socket.write(first);
    if (service.tls !== "implicit") return upstream;
    try {
      await upstream.open(() => upstream.startTls());
      return upstream;
    } catch (error) {
      await upstream[Symbol.asyncDispose]();
      throw error;
    }
  };
}

function openSocket(service: Service, signal: AbortSignal): Promise<Socket> {
  const { host, port, name, connectTimeoutMs } = service;
  return new Promise((resolve, reject) => {
    const socket: Socket = connectTcp({
      // TLS reads by itself.
      ...(service.tls === "none" && { onread: lendingReads(() => socket) }),
      host,
      port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_AFTER,
    });
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abandoned);
      socket.removeAllListeners();
    };
    const give = (error: Error): void => {
      settle();
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    };
    const fail = (why: string): void => give(new Refused("unavailable", `${name}: ${why}`));
    const abandoned = (): void => give(new ChannelClosed("the client is gone"));
    const timer = setTimeout(() => fail(`no connection within ${connectTimeoutMs} ms`), connectTimeoutMs);
    socket.once("error", (error) => fail(reasonOf(error)));
    socket.once("connect", () => {
      settle();
      resolve(socket);
    });
    if (signal.aborted) abandoned();
    else signal.addEventListener("abort", abandoned);
  });
}
