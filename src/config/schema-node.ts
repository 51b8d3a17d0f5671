/** A JSON Schema node with the annotations that the loader and the reference page read. */
export interface SchemaNode {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly patternProperties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly description?: string;
  /** How the loader turns the written value into the loaded one. */
  readonly unit?:
    | "duration"
    | "period"
    | "size"
    | "path"
    | "command"
    | "secret"
    | "list"
    | "limit"
    | "endpoint"
    | "store";
  /** What is valid here, in an operator's words. */
  readonly valid?: string;
  /** What an absent key means, when the loader works it out. */
  readonly computed?: string;
}

/** Every annotation of ours: ajv has to be told of them, and the published schema leaves them out. */
export const ANNOTATIONS = ["unit", "valid", "computed"] as const;

/** A copy of the schema with every node passed through `change`, children first. */
export function mapSchema(node: SchemaNode, change: (node: SchemaNode) => SchemaNode): SchemaNode {
  const inside = (child: SchemaNode) => mapSchema(child, change);
  const named = (children: Readonly<Record<string, SchemaNode>>) =>
    Object.fromEntries(Object.entries(children).map(([name, child]) => [name, inside(child)]));
  return change({
    ...node,
    ...(node.items && { items: inside(node.items) }),
    ...(node.anyOf && { anyOf: node.anyOf.map(inside) }),
    ...(node.oneOf && { oneOf: node.oneOf.map(inside) }),
    ...(node.properties && { properties: named(node.properties) }),
    ...(node.patternProperties && { patternProperties: named(node.patternProperties) }),
  });
}

/** The nodes directly below a node. */
function childrenOf(node: SchemaNode): SchemaNode[] {
  return [
    ...(node.items ? [node.items] : []),
    ...(node.anyOf ?? []),
    ...(node.oneOf ?? []),
    ...Object.values(node.properties ?? {}),
    ...Object.values(node.patternProperties ?? {}),
  ];
}

/** The schema of the file as written: a key with a default, or one that is worked out, may be left out. */
export function asWritten(schema: SchemaNode): SchemaNode {
  return mapSchema(schema, (node) => {
    if (node.required === undefined) return node;
    const required = node.required.filter((name) => !mayBeAbsent(node.properties?.[name]));
    const { required: _, ...rest } = node;
    return required.length === 0 ? rest : { ...rest, required };
  });
}

function mayBeAbsent(node: SchemaNode | undefined): boolean {
  return node?.default !== undefined || node?.computed !== undefined;
}

/** True where a secret can stand, at this node or anywhere below it. */
export function holdsSecret(node: SchemaNode): boolean {
  return node.unit === "secret" || childrenOf(node).some(holdsSecret);
}

/** What is valid at a node, in words short enough for an error message and for a table. */
export function describe(node: SchemaNode): string {
  if (node.valid !== undefined) return node.valid;
  if (node.const !== undefined) return String(node.const);
  if (node.enum !== undefined) return node.enum.join(", ");
  if (node.type === "boolean") return "true, false";
  if (node.type === "integer") return describeInteger(node);
  if (node.type === "array") return `a list of: ${node.items ? describe(node.items) : "anything"}`;
  if (node.properties !== undefined) return `a mapping of ${Object.keys(node.properties).join(", ")}`;
  const variants = node.oneOf ?? node.anyOf;
  return variants === undefined ? "text" : variants.map(describe).join(" or ");
}

function describeInteger({ minimum, maximum }: SchemaNode): string {
  if (minimum === undefined) return "a whole number";
  return maximum === undefined
    ? `a whole number, ${minimum} or more`
    : `a whole number from ${minimum} to ${maximum}`;
}
