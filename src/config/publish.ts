/** Writes config/postern.schema.json and docs/configuration.md; with --check exits 1 when they are stale. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { renderReference } from "./reference.ts";
import { ANNOTATIONS, mapSchema, type SchemaNode } from "./schema-node.ts";
import { WrittenSchema } from "./validate.ts";

/** The published files: where each belongs, and what it should hold now. */
export function publications(): { readonly path: string; readonly text: string }[] {
  const example = readFileSync(fromRoot("config/minimal.yaml"), "utf8");
  return [
    { path: fromRoot("config/postern.schema.json"), text: renderSchema() },
    { path: fromRoot("docs/configuration.md"), text: renderReference(WrittenSchema, example) },
  ];
}

/** The JSON Schema (draft-07) of the file as written, for editors. */
function renderSchema(): string {
  const published = mapSchema(WrittenSchema, forEditors);
  const schema = { $schema: "http://json-schema.org/draft-07/schema#", ...published };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Drops our annotations, and what only our own ajv knows: its formats and its discriminator. */
function forEditors(node: SchemaNode): SchemaNode {
  const ours: readonly string[] = [...ANNOTATIONS, "format", "discriminator"];
  return Object.fromEntries(Object.entries(node).filter(([keyword]) => !ours.includes(keyword)));
}

function fromRoot(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

function currentText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function main(args: readonly string[]): void {
  const stale = publications().filter(({ path, text }) => currentText(path) !== text);
  if (!args.includes("--check")) for (const { path, text } of stale) writeFileSync(path, text);
  else if (stale.length > 0) {
    for (const { path } of stale) console.error(`${path} is stale; run: npm run docs`);
    process.exitCode = 1;
  }
}

if (import.meta.main) main(process.argv.slice(2));
