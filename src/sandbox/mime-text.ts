import { fieldValue, headerValue } from "./header.ts";
import { type MimePart, parseMime } from "./mime.ts";

/** A search reads this much of a message's text and no more. */
const MAX_SEARCHED = 4 * 1024 * 1024;
const MAX_HEADER_TEXT = 64 * 1024;

/** Bytes to text; a charset nobody knows is read as latin1, which at least keeps the ASCII. */
function decodeCharset(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return bytes.toString("latin1");
  }
}

/** Header bytes as text: UTF-8 where they are (RFC 6532), and RFC 2047 encoded words decoded. */
export function decodeHeaderText(latin1: string): string {
  const text = decodeUtf8(Buffer.from(latin1.slice(0, MAX_HEADER_TEXT), "latin1"));
  // RFC 2047 6.2: white space between two encoded words is not part of the text.
  const joined = text.replace(/(\?=)\s+(?==\?)/g, "$1");
  return joined.replace(
    /=\?([^?\s]{1,40})\?([bqBQ])\?([^?\s]*)\?=/g,
    (_, charset: string, kind: string, word: string) => {
      const bytes =
        kind.toLowerCase() === "b" ? Buffer.from(word, "base64") : decodeQ(word.replaceAll("_", " "));
      return decodeCharset(bytes, charset.replace(/\*.*/, ""));
    },
  );
}

function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return bytes.toString("latin1");
  }
}

function decodeQ(latin1: string): Buffer {
  const decoded = latin1.replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(decoded, "latin1");
}

function decodeBody(raw: Buffer, part: MimePart): string {
  const encoded = raw.subarray(part.header.end, Math.min(part.end, part.header.end + MAX_SEARCHED));
  const encoding = (headerValue(raw, part.header, "content-transfer-encoding") ?? "").toLowerCase();
  const charset = part.parameters.find(([name]) => name === "charset")?.[1] ?? "utf-8";
  if (encoding === "base64") return decodeCharset(Buffer.from(encoded.toString("latin1"), "base64"), charset);
  // RFC 2045 6.7: a line that ends in "=" goes on in the next.
  const bytes =
    encoding === "quoted-printable"
      ? decodeQ(encoded.toString("latin1").replace(/=[ \t]*\r?\n/g, ""))
      : encoded;
  return charset === "utf-8" ? decodeUtf8(bytes) : decodeCharset(bytes, charset);
}

/** All text of the message's body, decoded: text parts, and the headers of the messages and parts it carries. */
export function bodyText(raw: Buffer): string {
  const pieces: string[] = [];
  let size = 0;
  const visit = (part: MimePart, nested: boolean): void => {
    if (size >= MAX_SEARCHED) return;
    if (nested) pieces.push(headerText(raw, part));
    if (part.type === "text") {
      pieces.push(decodeBody(raw, part));
      size += part.end - part.header.end;
    }
    for (const child of part.children) visit(child, true);
    if (part.message) visit(part.message, true);
  };
  visit(parseMime(raw), false);
  return pieces.join("\n");
}

/** All fields of a header, decoded, one a line. */
export function headerText(raw: Buffer, part: MimePart): string {
  const lines = part.header.fields.map(
    (field) => `${field.name}: ${decodeHeaderText(fieldValue(raw, field))}`,
  );
  return lines.join("\n");
}
