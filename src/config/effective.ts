import { stringify } from "yaml";
import { fillComputed } from "./convert.ts";
import { readDocument } from "./document.ts";
import type { SchemaNode } from "./schema-node.ts";
import { validate, WrittenSchema } from "./validate.ts";

const MASK = "***";

/** A good configuration's text with everything that it leaves out, as YAML that loads to the same; secrets are masked. */
export function effectiveText(text: string): string {
  const { value } = readDocument(text);
  validate(value);
  fillComputed(value);
  return stringify(masked(WrittenSchema, value), { lineWidth: 0, aliasDuplicateObjects: false });
}

/** A copy in the schema's order; where a secret is found stays, what it is does not. */
function masked(schema: SchemaNode, value: unknown): unknown {
  if (schema.unit === "secret") return typeof value === "string" ? MASK : value;
  // A URL by itself may hold a password.
  if (schema.unit === "store" && typeof value === "string") return value.replace(/\/\/[^/]*@/, `//${MASK}@`);
  if (Array.isArray(value)) return value.map((item) => masked(itemOf(schema), item));
  if (typeof value !== "object" || value === null) return value;
  const { properties = {}, patternProperties = {} } = bodyFor(schema, value);
  const [members] = Object.values(patternProperties);
  const names = Object.keys(value).toSorted(
    (one, other) => placeIn(properties, one) - placeIn(properties, other),
  );
  return Object.fromEntries(
    names.map((name) => [
      name,
      masked(properties[name] ?? members ?? {}, (value as Record<string, unknown>)[name]),
    ]),
  );
}

function placeIn(properties: Readonly<Record<string, unknown>>, name: string): number {
  const place = Object.keys(properties).indexOf(name);
  return place < 0 ? Number.MAX_SAFE_INTEGER : place;
}

function itemOf({ items, anyOf = [] }: SchemaNode): SchemaNode {
  return items ?? anyOf.find((variant) => variant.items)?.items ?? {};
}

/** The variant that has the value's keys: a secret may stand in one that another one lacks. */
function bodyFor(schema: SchemaNode, value: object): SchemaNode {
  const variants = [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])];
  const fits = ({ properties = {} }: SchemaNode): boolean =>
    Object.entries(value).every(
      ([name, member]) =>
        name in properties && (properties[name]?.const === undefined || properties[name].const === member),
    );
  return variants.length === 0 ? schema : (variants.find(fits) ?? schema);
}
