/** Why the store gave no answer; also a metric's label, so the list is closed. */
export type FailureKind =
  | "timeout"
  | "lost"
  | "down"
  | "busy"
  | "readonly"
  | "full"
  | "loading"
  | "denied"
  | "cluster"
  | "wrongType"
  | "other";

/** What a reply's word says; inside a script's error it need not be the first. */
const KINDS: Readonly<Record<string, FailureKind>> = {
  READONLY: "readonly",
  MISCONF: "readonly",
  NOREPLICAS: "readonly",
  OOM: "full",
  LOADING: "loading",
  MASTERDOWN: "loading",
  BUSY: "timeout",
  NOAUTH: "denied",
  WRONGPASS: "denied",
  NOPERM: "denied",
  CLUSTERDOWN: "cluster",
  TRYAGAIN: "cluster",
  MOVED: "cluster",
  CROSSSLOT: "cluster",
  WRONGTYPE: "wrongType",
};
const WORD = new RegExp(`\\b(${Object.keys(KINDS).join("|")})\\b`);

/** About one key or one call, and no sign that the next one fails too. */
const OF_ONE_CALL: ReadonlySet<FailureKind> = new Set(["busy", "wrongType", "other"]);
const MAX_REASON = 200;

export class StoreFailure extends Error {
  override readonly name = "StoreFailure";
  readonly kind: FailureKind;

  constructor(kind: FailureKind, reason: string) {
    super(reason);
    this.kind = kind;
  }

  get isOfOneCall(): boolean {
    return OF_ONE_CALL.has(this.kind);
  }
}

/** What went wrong, without the command and its arguments, which ioredis hangs on its errors: a password may be there. */
export function toFailure(error: unknown): StoreFailure {
  if (error instanceof StoreFailure) return error;
  const message = error instanceof Error ? error.message : String(error);
  const kind = KINDS[WORD.exec(message)?.[1] ?? ""] ?? (isReply(error) ? "other" : "lost");
  return new StoreFailure(kind, message.replaceAll(/\p{Cc}/gu, " ").slice(0, MAX_REASON));
}

function isReply(error: unknown): boolean {
  return error instanceof Error && error.name === "ReplyError";
}

export function isNoScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("NOSCRIPT");
}
