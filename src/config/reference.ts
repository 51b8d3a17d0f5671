import { stringify } from "yaml";
import { describe, type SchemaNode } from "./schema-node.ts";

/** The reference page, in Markdown, of a schema of the file as written. */
export function renderReference(schema: SchemaNode, example: string): string {
  const members = Object.entries(schema.properties ?? {});
  const simple = members.filter(([, node]) => !isSection(node));
  const sections = members.filter(([, node]) => isSection(node));
  const isRequired = (name: string) => schema.required?.includes(name) ?? false;
  return [
    introduction(example),
    "## The gateway itself",
    table(simple.flatMap(([name, node]) => rows(name, node, isRequired(name)))),
    ...sections.flatMap(([name, node]) => section(name, node, isRequired(name))),
    "",
  ]
    .join("\n\n")
    .replace(/\n+$/, "\n");
}

function introduction(example: string): string {
  return `<!-- Written by src/config/publish.ts from src/config/schema.ts; change it there and run: npm run docs -->

# Configuration

One YAML file. The smallest useful one, \`config/minimal.yaml\`:

\`\`\`yaml
${example.trimEnd()}
\`\`\`

- **Durations** are a whole number and a unit: \`500ms\`, \`10s\`, \`5m\`, \`1h\`, \`1d\`; at most \`24d\`.
- **Sizes** are a whole number and a unit: \`64KiB\`, \`50MiB\`, \`2GiB\`.
- **Paths** are relative to the configuration file's folder.
- **A secret** is text, \`{ file: PATH }\` or \`{ env: NAME }\`. A newline at the end of a secret's file is dropped.
- **A mistake stops the start.** Every one is reported, each on a line of its own with file, line, column and key:
  a key that is not on this page, one that stands twice, a bad value, a missing file. Warnings do not stop it.
- **Editors** complete and check the file by \`config/postern.schema.json\`; with the YAML language server its first
  line is \`# yaml-language-server: $schema=./postern.schema.json\`.

In the tables \`[]\` stands for every entry of a list and \`NAME\` for a name of your choice. A dash in the column
Default means: may be left out.`;
}

function isSection(node: SchemaNode): boolean {
  return bodies(node).length > 0;
}

function section(name: string, node: SchemaNode, required: boolean): string[] {
  const must = required ? " **Required.**" : "";
  const fallback =
    node.default === undefined || isEmpty(node.default) ? "" : `\n\nDefault: ${printDefault(node)}`;
  const body = bodies(node).flatMap(({ suffix, body }) => memberRows(`${name}${suffix}`, body));
  return [`## ${name}`, `${node.description ?? ""}${must}${fallback}`, table(body)];
}

interface Row {
  readonly key: string;
  readonly valid: string;
  readonly fallback: string;
  readonly meaning: string;
}

function rows(key: string, node: SchemaNode, required: boolean): Row[] {
  const inside = bodies(node).flatMap(({ suffix, body }) => memberRows(`${key}${suffix}`, body));
  return [rowOf(key, node, required), ...inside];
}

function memberRows(key: string, body: SchemaNode): Row[] {
  const members = Object.entries(body.properties ?? {});
  return members.flatMap(([name, node]) =>
    rows(`${key}.${name}`, node, body.required?.includes(name) ?? false),
  );
}

/** The mappings that stand under a key, each with what its members' keys get in between. */
function bodies(node: SchemaNode): { suffix: string; body: SchemaNode }[] {
  // Secrets and endpoints are explained by their own words; taking them apart would only repeat them.
  if (node.unit !== undefined) return [];
  if (node.properties !== undefined) return [{ suffix: "", body: node }];
  if (node.items !== undefined) return bodies(node.items).map((inner) => under("[]", inner));
  const records = Object.values(node.patternProperties ?? {}).flatMap(bodies);
  // Of several variants none is required, and the key's own words say which there are.
  const choices = (node.anyOf ?? [])
    .flatMap(bodies)
    .map(({ suffix, body }) => ({ suffix, body: { ...body, required: [] } }));
  const variants = [...(node.oneOf ?? []).flatMap(bodies), ...choices];
  return [...records.map((inner) => under(".NAME", inner)), ...variants];
}

function under(prefix: string, { suffix, body }: { suffix: string; body: SchemaNode }) {
  return { suffix: `${prefix}${suffix}`, body };
}

function rowOf(key: string, node: SchemaNode, required: boolean): Row {
  const fallback = required ? "**required**" : (node.computed ?? printDefault(node));
  return { key, valid: kind(node), fallback, meaning: node.description ?? "" };
}

/** As in an error message, but a mapping's own keys follow as rows of their own. */
function kind(node: SchemaNode): string {
  if (node.valid !== undefined) return node.valid;
  if (node.properties !== undefined || node.oneOf !== undefined) return "a mapping";
  if (node.items !== undefined && bodies(node).length > 0) return "a list of mappings";
  return describe(node);
}

function printDefault({ default: value }: SchemaNode): string {
  if (value === undefined || isEmpty(value)) return "–";
  const entries = Array.isArray(value) && value.some((item) => typeof item === "object") ? value : [value];
  return entries.map((entry) => `\`${printFlow(entry)}\``).join("<br>");
}

function printFlow(value: unknown): string {
  return stringify(value, { collectionStyle: "flow", lineWidth: 0, flowCollectionPadding: false }).trimEnd();
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function table(lines: readonly Row[]): string {
  const body = lines.map(({ key, valid, fallback, meaning }) => [`\`${key}\``, valid, fallback, meaning]);
  const header = [
    ["Key", "Valid", "Default", "Meaning"],
    ["---", "---", "---", "---"],
  ];
  return [...header, ...body].map((cells) => `| ${cells.map(escapeCell).join(" | ")} |`).join("\n");
}

function escapeCell(cell: string): string {
  return cell.replaceAll("|", "\\|");
}
