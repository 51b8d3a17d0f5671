import type { Config } from "../config/schema.ts";
import type { Snapshot } from "../telemetry/snapshot.ts";
import type { CommonState } from "../tls/common.ts";
import type { Offer } from "../upstream/capabilities.ts";
import type { Questions } from "./carrier.ts";
import type { News } from "./news.ts";
import type { StoreAnswer, StoreCall } from "./remote-store.ts";

/** What a worker needs to begin; the channel is private to the two processes. */
export interface WorkerStart {
  /** Which worker this is, for the log. */
  readonly worker: number;
  readonly config: Config;
  /** What all workers have in common. Secret. */
  readonly secret: Uint8Array;
  readonly tls: CommonState;
  readonly hashThreads?: number | undefined;
  /** What backends offer, as far as it is known. */
  readonly known: readonly Offer[];
}

/** One of the questions, to be answered under its number. */
export type Question = {
  [Name in keyof Questions]: {
    readonly type: "question";
    readonly id: number;
    readonly name: Name;
    readonly args: Parameters<Questions[Name]>;
  };
}[keyof Questions];

/** Everything that the supervisor says to a worker. */
export type ToWorker =
  | ({ readonly type: "start" } & WorkerStart)
  /** Comes with the connection's socket; answered by "took". */
  | { readonly type: "connection"; readonly id: number; readonly listener: string }
  | Question
  | { readonly type: "storeAnswers"; readonly answers: readonly StoreAnswer[] }
  /** Tickets or certificates have changed. */
  | { readonly type: "tls"; readonly state: CommonState }
  /** Ends every session in order, and then itself; see Carrier. */
  | { readonly type: "stop"; readonly drainMs: number; readonly quietMs: number };

/** Everything that a worker says to the supervisor. */
export type FromWorker =
  | { readonly type: "ready" }
  /** It cannot begin: what the configuration names cannot be had. */
  | { readonly type: "failed"; readonly reason: string }
  /** It has this connection. Said before a byte of it is read or written. */
  | { readonly type: "took"; readonly id: number }
  /** So many of its connections have ended. */
  | { readonly type: "ended"; readonly count: number }
  | { readonly type: "answer"; readonly id: number; readonly value?: unknown; readonly fault?: string }
  /** A backend answers, or does not and why. */
  | { readonly type: "backend"; readonly name: string; readonly trouble?: string | undefined }
  /** What a backend offers has changed, or is known now. */
  | { readonly type: "offer"; readonly offer: Offer }
  | ({ readonly type: "news" } & News)
  | { readonly type: "storeCalls"; readonly calls: readonly StoreCall[] }
  /** Once a second, as a sign of life. */
  | { readonly type: "beat"; readonly counted: Snapshot };

/** Everything that a supervisor says to the one that it has started to take over. */
export type ToHeir =
  /** Comes with the listening socket of this address. */
  { readonly type: "listener"; readonly address: string } | { readonly type: "allListeners" };

/** Everything that one that takes over says to the supervisor that started it. */
export type FromHeir =
  /** It has read its configuration and its workers are ready. */
  | { readonly type: "ready" }
  /** It accepts connections: whoever was there before can go. */
  | { readonly type: "serving" }
  | { readonly type: "failed"; readonly reason: string };
