import type { Refused } from "../../refusal.ts";
import type { Facts, Subject } from "../limit-key.ts";

/** What hooks may be told of a client beside the facts that are counted. */
export interface Caller {
  /** The session's id. */
  readonly session: string;
  readonly address: string;
  readonly port: number;
  /** Where it connected to. */
  readonly local: { readonly address: string; readonly port: number };
  readonly tls?: {
    readonly version: string;
    readonly cipher: string;
    readonly serverName?: string;
    /** The name in a client certificate that was verified. */
    readonly commonName?: string;
  };
  /** How it named itself in SMTP. */
  readonly hello?: { readonly name: string; readonly extended: boolean };
  /** What it said of itself by IMAP's ID. */
  readonly device?: string;
  /** By which SASL mechanism it signs in, or has signed in. */
  readonly mechanism?: string;
}

/** What a hook may hear of a try to sign in. */
export interface TryDetails {
  readonly caller: Caller;
  /** Secret; undefined where it is never seen. */
  readonly password: string | undefined;
}

export interface Try extends TryDetails {
  readonly facts: Facts;
}

/** A message on its way, as far as it is known when somebody asks about it. */
export interface MailFacts {
  /** One for all questions about the message. */
  readonly instance: string;
  readonly sender: string;
  /** The one that the question is about, or the only one. */
  readonly recipient?: string;
  /** How many its backend has been given. */
  readonly recipients: number;
  /** As MAIL said; 0 where it said nothing. */
  readonly size: number;
}

export interface MailDetails {
  readonly caller: Caller;
  readonly mail: MailFacts;
}

export interface Mail extends MailDetails {
  readonly facts: Facts;
}

/** Where hooks are asked about a message: for each recipient, and before its content. */
export type MailStage = "rcpt" | "data";

export type Answer =
  | { readonly kind: "allow" }
  /** Go on, so much later. */
  | { readonly kind: "delay"; readonly ms: number }
  | { readonly kind: "refuse"; readonly refused: Refused };

export const ALLOW: Answer = { kind: "allow" };

/** How a try ended: "right", or why it came to nothing; an outage is no end that a hook hears of. */
export type TryEnd = "right" | "wrong" | "unknownName" | "notAllowed" | "refusedByHook";

/** One try, from a hook's side: each question where it has one. Questions reject with HookFailure. */
export interface HookedTry {
  /** Before anybody looks at the password. */
  before?(): Promise<Answer>;
  /** The password was right. */
  after?(): Promise<Answer>;
  /** Waits for nobody. */
  report?(end: TryEnd): void;
}

/** One kind of external decision: asked where it has a method, and only there. */
export interface Hook extends AsyncDisposable {
  attempt?(one: Try): HookedTry;
  readonly mail?: {
    readonly stages: ReadonlySet<MailStage>;
    ask(stage: MailStage, mail: Mail): Promise<Answer>;
  };
}

/** A hook, and what is the same for all kinds of them. */
export interface HookPlace {
  readonly name: string;
  readonly hook: Hook;
  /** What happens without its answer. */
  readonly onFailure: "allow" | "refuse";
  /** Its no is told, and not heeded. */
  readonly observed: boolean;
  /** Whom it is asked about. */
  readonly concerns: (subject: Subject) => boolean;
}

/** Why a hook has given no answer: the last two without having been asked. */
export const FAILURES = [
  "timeout",
  "connect",
  "broken",
  "tooLarge",
  "status",
  "malformed",
  "busy",
  "resting",
] as const;
export type FailureKind = (typeof FAILURES)[number];

/** No answer; the message is for the log. */
export class HookFailure extends Error {
  override readonly name = "HookFailure";
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** What hooks answered, or why they did not. */
export type HookAnswer = "allowed" | "refused" | "delayed" | "wouldRefuse" | FailureKind;

export interface HookObserver {
  /** `ms`: how long it took, where it was asked. */
  answered(hook: string, answer: HookAnswer, ms?: number): void;
  wouldRefuse(hook: string, caller: Caller, facts: Facts, detail: string): void;
  /** It is not asked any more for a time, and why; undefined when it answers again. */
  trouble(hook: string, reason: string | undefined): void;
  /** What became of a report. */
  reported(hook: string, outcome: "sent" | "failed" | "dropped"): void;
  /** It lets a mail pass, and has something to say of it. */
  noted(hook: string, caller: Caller, facts: Facts, text: string): void;
  /** It answers with something that we cannot do. */
  notDone(hook: string, action: string): void;
}
