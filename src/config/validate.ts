import { isIP } from "node:net";
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { ConfigSchema } from "./schema.ts";
import { ANNOTATIONS, asWritten, type SchemaNode } from "./schema-node.ts";
import { LONGEST_PERIOD_MS, parseDuration, parseLimit } from "./units.ts";

/** The schema of the file as written, annotations included. */
export const WrittenSchema: SchemaNode = asWritten(ConfigSchema as object);

export type Violation = ErrorObject<string, Record<string, unknown>, unknown> & {
  readonly parentSchema?: SchemaNode;
};

/** Checks a configuration as written, fills its defaults in place, and returns what breaks the schema. */
export function validate(value: unknown): Violation[] {
  compiled ??= newAjv().compile(WrittenSchema);
  return compiled(value) ? [] : ((compiled.errors ?? []) as Violation[]);
}

/** Compiling takes longer than all the rest of a load, so it is done once, when first asked for. */
let compiled: ValidateFunction | undefined;

function newAjv(): Ajv {
  const ajv = new Ajv({
    allErrors: true,
    discriminator: true,
    useDefaults: true,
    verbose: true,
    strict: true,
  });
  ajv.addVocabulary([...ANNOTATIONS]);
  for (const [name, validate] of Object.entries(FORMATS)) ajv.addFormat(name, { type: "string", validate });
  return ajv;
}

const FORMATS: Record<string, (text: string) => boolean> = {
  "duration-some": (text) => (parseDuration(text) ?? 0) > 0,
  "duration-any": (text) => parseDuration(text) !== undefined,
  period: (text) => (parseDuration(text, LONGEST_PERIOD_MS) ?? 0) > 0,
  "duration-short": (text) => (parseDuration(text, 10_000) ?? 0) > 0,
  "https-url": isHttpsUrl,
  "redis-url": isRedisUrl,
  place: (text) => URL.canParse(`redis://${text}`) && /^[^/?#@]+:[0-9]+$/.test(text),
  "certificate-name": isCertificateName,
  "mail-address": (text) => /^[A-Za-z0-9.!#$&'*+/=^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$/.test(text),
  limit: (text) => parseLimit(text) !== undefined,
  network: isNetwork,
  country: (text) => /^(?:[a-z]{2}|unknown)$/i.test(text),
  asn: isAsn,
  host: (text) => isIP(text) !== 0 || isHostName(text),
  template: isTemplate,
  printable: (text) => !/\p{Cc}/u.test(text),
};

function isNetwork(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || address.includes("%") || rest.length > 0) return false;
  if (prefix === undefined) return true;
  return /^(0|[1-9][0-9]{0,2})$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128);
}

function isAsn(text: string): boolean {
  const [, digits] = /^AS([1-9][0-9]{0,9})$/i.exec(text) ?? [];
  return /^unknown$/i.test(text) || (digits !== undefined && Number(digits) < 2 ** 32);
}

function isHostName(text: string): boolean {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length === 0 || name.length > 253 || /^[0-9.]+$/.test(name)) return false;
  return name.split(".").every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
}

function isHttpsUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url?.protocol === "https:" && url.username === "" && url.password === "" && url.hash === "";
}

/** What we read of it, and nothing that would be passed over in silence. */
export function isRedisUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !["redis:", "rediss:"].includes(url.protocol) || url.hostname === "") return false;
  return url.search === "" && url.hash === "" && /^(\/[0-9]*)?$/.test(url.pathname);
}

/** RFC 6125 6.4.3: a wildcard is one whole label, the leftmost. */
function isCertificateName(text: string): boolean {
  const name = text.startsWith("*.") ? text.slice(2) : text;
  return isHostName(name) && /^[a-z0-9.-]*[a-z0-9]$/.test(name);
}

function isTemplate(text: string): boolean {
  const fixed = text.replaceAll(/\{(user|local|domain)\}/g, "");
  return text !== "" && !/[{}\p{Cc}]/u.test(fixed);
}
