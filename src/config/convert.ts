import { hostname } from "node:os";
import { resolve } from "node:path";
import { childPointer } from "./document.ts";
import type { Report } from "./report.ts";
import type { SchemaNode } from "./schema-node.ts";
import { readSecret, type SecretSource } from "./secrets.ts";
import { LONGEST_PERIOD_MS, parseDuration, parseLimit, parseSize } from "./units.ts";

/** What conversion needs to know besides schema and value. */
export interface Surroundings {
  /** The configuration file's folder: relative paths begin there. */
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
}

type Members = Record<string, unknown>;

/** Turns a value as written into the loaded one by the schema's units; leaves alone what the report calls broken. */
export function convert(schema: SchemaNode, value: unknown, pointer: string, around: Surroundings): unknown {
  if (schema.unit !== undefined)
    return around.report.whole(pointer) ? fromUnit(schema, value, pointer, around) : value;
  if (Array.isArray(value))
    return value.map((item, i) => convert(schema.items ?? {}, item, `${pointer}/${i}`, around));
  if (!isMembers(value)) return value;
  const variant = [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])].find((one) => fits(one, value));
  if (variant !== undefined) return convert(variant, value, pointer, around);
  return schema.patternProperties === undefined
    ? convertMembers(schema.properties ?? {}, value, pointer, around)
    : convertRecord(schema.patternProperties, value, pointer, around);
}

function convertMembers(
  known: Record<string, SchemaNode>,
  value: Members,
  pointer: string,
  around: Surroundings,
) {
  const members = Object.entries(known).filter(([name]) => value[name] !== undefined);
  return Object.fromEntries(
    members.map(([name, schema]) => [
      name,
      convert(schema, value[name], childPointer(pointer, name), around),
    ]),
  );
}

/** Names here are the operator's own: without a prototype, a look-up of `constructor` finds nothing. */
function convertRecord(
  patterns: Readonly<Record<string, SchemaNode>>,
  value: Members,
  pointer: string,
  around: Surroundings,
): Members {
  const record: Members = Object.create(null);
  for (const [name, member] of Object.entries(value)) {
    const schema = Object.entries(patterns).find(([pattern]) => new RegExp(pattern).test(name))?.[1];
    if (schema !== undefined) record[name] = convert(schema, member, childPointer(pointer, name), around);
  }
  return record;
}

function fits(variant: SchemaNode, value: Members): boolean {
  const known = variant.properties;
  if (known === undefined) return false;
  if (!(variant.required ?? []).every((name) => name in value)) return false;
  return Object.entries(known).every(([name, { const: only }]) => only === undefined || value[name] === only);
}

function fromUnit(schema: SchemaNode, value: unknown, pointer: string, around: Surroundings): unknown {
  switch (schema.unit) {
    case "duration":
      return parseDuration(String(value));
    case "period":
      return parseDuration(String(value), LONGEST_PERIOD_MS);
    case "size":
      return parseSize(String(value));
    case "path":
      return resolve(around.folder, String(value));
    case "command":
      return toCommand(value as string[], around);
    case "list":
      return Array.isArray(value) ? value : [value];
    case "limit":
      return parseLimit(value as string | number);
    case "secret":
      return fetchSecret(value as SecretSource, pointer, around);
    case "store":
      return toStore(schema, value, pointer, around);
    default:
      return value;
  }
}

/** A URL by itself is the short way to say where Redis is. */
function toStore(schema: SchemaNode, value: unknown, pointer: string, around: Surroundings): unknown {
  if (typeof value === "string") return value === "memory" ? value : { redis: { url: value } };
  const { unit: _, ...rest } = schema;
  return convert(rest, value, pointer, around);
}

/** A program and its arguments; only the program is a path. */
function toCommand([program = "", ...args]: readonly string[], { folder }: Surroundings): string[] {
  return [resolve(folder, program), ...args];
}

function fetchSecret(
  source: SecretSource,
  pointer: string,
  { folder, env, report }: Surroundings,
): string | undefined {
  const result = readSecret(source, folder, env);
  if (result.ok) return result.secret;
  report.error(pointer, result.reason, { found: describeSource(source) });
  return undefined;
}

function describeSource(source: SecretSource): string {
  if (typeof source === "string") return "text";
  return "env" in source ? `{ env: ${source.env} }` : `{ file: ${source.file} }`;
}

/** Fills in, in place, what an absent key means where only its surroundings tell: names, and what is said of ports. */
export function fillComputed(value: unknown): void {
  if (!isMembers(value)) return;
  value["hostname"] ??= hostname();
  if (Array.isArray(value["listeners"])) value["listeners"].filter(isMembers).forEach(fillListener);
  if (isMembers(value["backends"])) Object.values(value["backends"]).filter(isMembers).forEach(fillBackend);
}

function fillListener(listener: Members): void {
  listener["name"] ??= `${listener["protocol"]}-${listener["port"]}`;
}

function fillBackend(backend: Members): void {
  const protocols = backend["protocols"];
  if (!isMembers(protocols)) return;
  for (const [name, endpoint] of Object.entries(protocols))
    protocols[name] = {
      tls: backend["tls"],
      identity: backend["identity"],
      ...(isMembers(endpoint) ? endpoint : { port: endpoint }),
    };
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
