import { childPointer } from "./document.ts";
import { kindOf, show } from "./problem.ts";
import type { Report } from "./report.ts";
import { describe, holdsSecret, type SchemaNode } from "./schema-node.ts";
import type { Violation } from "./validate.ts";

/** Turns what ajv found into sentences for an operator, one for each place. */
export function explain(violations: readonly Violation[], report: Report): void {
  const told = new Set<string>();
  for (const violation of settleChoices(violations)) {
    const pointer = placeOf(violation);
    if (told.has(pointer)) continue;
    told.add(pointer);
    tell(violation, pointer, report);
  }
}

/** Replaces the many errors of a failed anyOf by those of the one variant that was meant, or by one about them all. */
function settleChoices(violations: readonly Violation[]): Violation[] {
  const choices = violations.filter(({ keyword }) => keyword === "anyOf");
  const outermost = choices.filter((one) => !choices.some((other) => other !== one && isInside(one, other)));
  const outside = violations.filter(
    (one) => !outermost.some((choice) => one === choice || isInside(one, choice)),
  );
  const settled = outermost.flatMap((choice) =>
    settle(
      choice,
      violations.filter((one) => one !== choice && isInside(one, choice)),
    ),
  );
  return [...outside, ...settled];
}

function isInside(one: Violation, choice: Violation): boolean {
  return (
    one.schemaPath.startsWith(`${choice.schemaPath}/`) && isAtOrBelow(one.instancePath, choice.instancePath)
  );
}

function isAtOrBelow(pointer: string, parent: string): boolean {
  return pointer === parent || pointer.startsWith(`${parent}/`);
}

function settle(choice: Violation, inside: readonly Violation[]): Violation[] {
  // Within a secret even a key may be a piece of it, so only the kinds of secret are named.
  if (choice.parentSchema?.unit === "secret") return [choice];
  const meant = meantVariant(choice, inside);
  return meant === undefined ? [choice] : settleChoices(meant);
}

function meantVariant(choice: Violation, inside: readonly Violation[]): Violation[] | undefined {
  const variants = [...Map.groupBy(inside, (one) => variantOf(one, choice)).values()];
  const ofThisKind = variants.filter((errors) => !errors.some((one) => isOtherKind(one, choice)));
  if (ofThisKind.length < 2) return ofThisKind[0];
  const wrongKeys = (errors: Violation[]): number =>
    errors.filter((one) => one.instancePath === choice.instancePath).length;
  const fewest = Math.min(...ofThisKind.map(wrongKeys));
  const nearest = ofThisKind.filter((errors) => wrongKeys(errors) === fewest);
  return nearest.length === 1 ? nearest[0] : undefined;
}

function variantOf(one: Violation, choice: Violation): string {
  return one.schemaPath.slice(choice.schemaPath.length + 1).split("/", 1)[0] ?? "";
}

const ABOUT_CONTENTS = new Set(["required", "additionalProperties", "minItems", "uniqueItems"]);

function isOtherKind(one: Violation, choice: Violation): boolean {
  return one.instancePath === choice.instancePath && !ABOUT_CONTENTS.has(one.keyword);
}

function placeOf({ keyword, instancePath, params }: Violation): string {
  if (keyword === "additionalProperties")
    return childPointer(instancePath, String(params["additionalProperty"]));
  if (keyword === "required") return childPointer(instancePath, String(params["missingProperty"]));
  return keyword === "discriminator" ? childPointer(instancePath, String(params["tag"])) : instancePath;
}

type Teller = (violation: Violation, pointer: string, report: Report) => void;

function tell(violation: Violation, pointer: string, report: Report): void {
  const teller = TELLERS[violation.keyword] ?? tellBadValue;
  teller(violation, pointer, report);
}

function tellUnknownKey(violation: Violation, pointer: string, report: Report): void {
  const key = String(violation.params["additionalProperty"]);
  const known = violation.parentSchema?.properties;
  if (known === undefined) {
    const valid = "letters, digits, dots, dashes and underscores, beginning with a letter or digit";
    report.error(pointer, "is not a valid name", { valid, at: "key" });
    return;
  }
  const names = Object.keys(known);
  const meant = closest(key, names);
  const message = meant === undefined ? "is not a known key" : `is not a known key; did you mean ${meant}?`;
  report.error(pointer, message, { valid: names.join(", "), at: "key", breaks: false });
}

function tellMissing({ params, parentSchema }: Violation, pointer: string, report: Report): void {
  const missing = parentSchema?.properties?.[String(params["missingProperty"])];
  report.error(pointer, "is missing", missing === undefined ? {} : { valid: describe(missing) });
}

function tellUnknownType({ params, parentSchema, data }: Violation, pointer: string, report: Report): void {
  const tag = String(params["tag"]);
  const valid = (parentSchema?.oneOf ?? [])
    .map(({ properties }) => describe(properties?.[tag] ?? {}))
    .join(", ");
  const value = (data as Record<string, unknown>)[tag];
  if (value === undefined) report.error(pointer, "is missing", { valid });
  else if (value === null) report.error(pointer, "has no value", { valid });
  else report.error(pointer, "is not valid here", { found: show(value), valid });
}

function tellBadValue(violation: Violation, pointer: string, report: Report): void {
  const schema = violation.parentSchema ?? {};
  const valid = describe(schema);
  const message = whatIsWrong(violation, schema);
  if (violation.data === null || violation.keyword in ABOUT_SIZE) report.error(pointer, message, { valid });
  else report.error(pointer, message, { found: foundAt(schema, violation.data), valid });
}

function foundAt(schema: SchemaNode, value: unknown): string {
  return holdsSecret(schema) ? kindOf(value) : show(value);
}

const ABOUT_SIZE = {
  minItems: "needs at least one entry",
  minProperties: "needs at least one entry",
  uniqueItems: "names something twice",
};

const TELLERS: Record<string, Teller> = {
  additionalProperties: tellUnknownKey,
  required: tellMissing,
  discriminator: tellUnknownType,
};

const WRONG: Record<string, string> = {
  ...ABOUT_SIZE,
  minimum: "is out of range",
  maximum: "is out of range",
};

function whatIsWrong({ keyword, data }: Violation, schema: SchemaNode): string {
  if (data === null) return "has no value";
  if (schema.type === "integer" && typeof data === "string" && /^[0-9]+$/.test(data))
    return "is text because of its quotes; numbers stand without them";
  if (keyword === "type" && schema.type === "string" && typeof data === "number")
    return "must be text, not a number";
  return WRONG[keyword] ?? "is not valid here";
}

const MOST_TYPOS = 2;

/** The known name that was most likely meant, if one is near. */
function closest(name: string, names: readonly string[]): string | undefined {
  if (name.length > 40) return undefined;
  const near = names
    .map((known) => ({ known, distance: distance(name.toLowerCase(), known.toLowerCase()) }))
    .filter(({ known, distance }) => distance <= Math.min(MOST_TYPOS, known.length - 2));
  return near.sort((a, b) => a.distance - b.distance)[0]?.known;
}

/** Levenshtein's distance: how many letters to insert, drop or change. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const change = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
