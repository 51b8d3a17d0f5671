import type { Told } from "../../refusal.ts";

/** What a policy server asks for, as far as a gateway that queues and edits nothing can do it. */
export type Action =
  | { readonly kind: "go on" }
  | { readonly kind: "refuse"; readonly told: Told }
  /** Its words are for the log. */
  | { readonly kind: "note"; readonly text: string }
  /** It means the queue, or the message itself. */
  | { readonly kind: "notDone"; readonly action: string };

const GO_ON: Action = { kind: "go on" };

/** In words from access(5), in capitals. DEFER_IF_REJECT is for restrictions behind this one: here are none. */
const PASSING = new Set(["OK", "DUNNO", "PERMIT", "DEFER_IF_REJECT"]);
const NOTES = new Set(["WARN", "INFO"]);
const REFUSING: Readonly<Record<string, number>> = { REJECT: 554, DEFER: 450, DEFER_IF_PERMIT: 450 };
const NOT_OURS = new Set(["DISCARD", "HOLD", "REDIRECT", "FILTER", "PREPEND", "BCC", "DELAY"]);

/** RFC 5321 3.8: these two say that the session ends, and it does not. */
const CLOSING: Readonly<Record<number, number>> = { 421: 450, 521: 554 };
/** A reply's line has 512 octets (RFC 5321 4.5.3.1.5). */
const MAX_TEXT = 256;

/** What stands behind `action=` (Postfix access(5)); undefined where it is nothing that we know. */
export function readAction(value: string): Action | undefined {
  const [, word = "", rest = ""] = /^\s*(\S+)\s*(.*)$/su.exec(value) ?? [];
  const action = word.toUpperCase();
  if (/^[45]\d\d$/.test(action)) return refusal(Number(action), rest);
  // access(5): any other number, as some programs make them, is OK.
  if (PASSING.has(action) || /^\d+$/.test(action)) return GO_ON;
  const code = Object.hasOwn(REFUSING, action) ? REFUSING[action] : undefined;
  if (code !== undefined) return refusal(code, rest);
  if (NOTES.has(action)) return { kind: "note", text: rest };
  return NOT_OURS.has(action) ? { kind: "notDone", action } : undefined;
}

function refusal(said: number, rest: string): Action {
  const code = CLOSING[said] ?? said;
  const classOf = String(code)[0];
  const [, enhanced, behind] = /^([245]\.\d{1,3}\.\d{1,3})(?:\s+(.*))?$/su.exec(rest) ?? [];
  const fits = enhanced?.startsWith(`${classOf}.`) ? enhanced : `${classOf}.7.1`;
  return { kind: "refuse", told: { code, enhanced: fits, text: plain(enhanced ? (behind ?? "") : rest) } };
}

/** Whatever a policy server sends: one line of printable ASCII. */
function plain(text: string): string {
  const shown = text
    .replace(/[^\x20-\x7e]/gu, "?")
    .slice(0, MAX_TEXT)
    .trim();
  return shown === "" ? "Access denied" : shown;
}
