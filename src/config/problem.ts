/** One thing wrong with a configuration file, and where; `line` and `column` count from 1. */
export interface Problem {
  /** The file as the user named it. */
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The key's whole path, such as `listeners[0].port`; empty for the file as a whole. */
  readonly key: string;
  readonly message: string;
  /** What stands there, never a secret. */
  readonly found?: string;
  /** What would be valid there. */
  readonly valid?: string;
}

/** One printable line: `file:line:column: key: message (found …; valid: …)`. */
export function formatProblem(problem: Problem): string {
  const { file, line, column, key, message, found, valid } = problem;
  const notes = [
    found === undefined ? [] : `found ${found}`,
    valid === undefined ? [] : `valid: ${valid}`,
  ].flat();
  const text = `${file}:${line}:${column}: ${key === "" ? "" : `${key}: `}${message}`;
  return printable(notes.length === 0 ? text : `${text} (${notes.join("; ")})`);
}

/** Sorts by position in the file. */
export function byPosition(a: Problem, b: Problem): number {
  return a.line - b.line || a.column - b.column;
}

const LONGEST_QUOTE = 60;

/** A value in a few printable words: scalars as YAML would write them, collections only by their kind. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (typeof value === "string") return printable(JSON.stringify(clip(value)));
  return typeof value === "object" ? kindOf(value) : String(value);
}

/** What kind of thing a value is, without saying anything about what it holds. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return typeof value === "string" ? "text" : `a ${typeof value}`;
}

function clip(text: string): string {
  return text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text;
}

/** Names from the file reach a terminal: control, format and line-separator characters are spelt out. */
function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}
