/** What schemas are made of: the kinds of values that stand in more than one section. */
import Type, { type Static, type TProperties, type TSchema } from "typebox";
import { DURATION_PATTERN, SIZE_PATTERN } from "./units.ts";

export const PROTOCOLS = ["imap", "submission", "smtp", "pop3", "sieve"] as const;
export const MODES = ["enforce", "observe"] as const;

export const NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
export const NAME_WORDS =
  "a name of letters, digits, dots, dashes and underscores that begins with a letter or digit";

export interface Notes {
  readonly description: string;
  readonly default?: unknown;
  readonly computed?: string;
}

export function mapping<Properties extends TProperties, Options extends object>(
  properties: Properties,
  options: Options,
) {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

/** One of a few words. */
export function choice<const Words extends readonly string[]>(words: Words, notes: Notes) {
  return Type.Unsafe<Words[number]>({ type: "string", enum: [...words], ...notes });
}

export function flag(notes: Notes) {
  return Type.Boolean({ ...notes });
}

export function text(notes: Notes, valid = "text without control characters") {
  return Type.String({ minLength: 1, format: "printable", valid, ...notes });
}

/** Written `10s`; loaded as milliseconds. */
export function duration(notes: Notes) {
  return Type.Unsafe<number>({
    type: "string",
    format: "duration-some",
    pattern: DURATION_PATTERN,
    unit: "duration",
    valid: "a duration such as 500ms, 10s, 5m, 1h or 1d, more than 0 and at most 24d",
    ...notes,
  });
}

/** A duration of up to ten years: a point in time is reckoned from it, no timer waits for it. */
export function period(notes: Notes) {
  const valid = "a duration such as 12h or 30d, more than 0 and at most 3650d";
  return Type.Unsafe<number>({ ...duration(notes), format: "period", unit: "period", valid });
}

/** Written `50MiB`; loaded as bytes. */
export function size(notes: Notes) {
  return Type.Unsafe<number>({
    type: "string",
    pattern: SIZE_PATTERN,
    unit: "size",
    valid: "a size such as 64KiB, 50MiB or 2GiB",
    ...notes,
  });
}

/** A duration that may be zero, which switches the thing off. */
export function durationOrOff(notes: Notes) {
  const valid = "a duration such as 500ms, 10s, 5m, 1h or 1d, at most 24d; 0s for off";
  return Type.Unsafe<number>({ ...duration(notes), format: "duration-any", valid });
}

/** Written relative to the configuration file; loaded absolute. */
export function path(notes: Notes) {
  return Type.String({ minLength: 1, unit: "path", valid: "a path, relative to this file", ...notes });
}

/** Written as a program, by its path, and its arguments; loaded with the path absolute. Never given to a shell. */
export function command(notes: Notes) {
  const valid = "a list of a program's path, relative to this file, and its arguments";
  return Type.Array(Type.String({ minLength: 1, format: "printable" }), {
    minItems: 1,
    unit: "command",
    valid,
    ...notes,
  });
}

/** Written as text or as where to find it; loaded as the text. */
export function secret(notes: Notes) {
  return Type.Unsafe<string>({
    anyOf: [
      { type: "string", minLength: 1 },
      mapping({ file: Type.String({ minLength: 1 }) }, {}),
      mapping({ env: Type.String({ minLength: 1 }) }, {}),
    ],
    unit: "secret",
    valid: "text, { file: PATH } or { env: NAME }",
    ...notes,
  });
}

/** Written as one or as a list; loaded as a list. */
export function oneOrMore<Item extends TSchema>(item: Item, valid: string, notes: Notes) {
  return Type.Unsafe<Static<Item>[]>({
    anyOf: [item, { type: "array", minItems: 1, uniqueItems: true, items: item }],
    unit: "list",
    valid: `${valid}, or a list of them`,
    ...notes,
  });
}

export function host(notes: Notes) {
  const valid = "a host name or an IP address, without port or brackets";
  return Type.String({ format: "host", valid, ...notes });
}

export function port(minimum: number, notes: Notes) {
  return Type.Integer({ minimum, maximum: 65_535, ...notes });
}

export const PROTOCOL = choice(PROTOCOLS, { description: "A mail protocol." });
export const TEXT = Type.String({ minLength: 1 });

/** Variants told apart by their key `type`; a further source is one more variant in the list. */
export function oneOfType<Variants extends TSchema[]>(variants: [...Variants], notes: Notes) {
  return Type.Unsafe<Static<Variants[number]>>({
    type: "object",
    discriminator: { propertyName: "type" },
    oneOf: variants,
    ...notes,
  });
}

export const NETWORK = Type.String({
  format: "network",
  valid: "an IP address or a network such as 10.0.0.0/8",
});
