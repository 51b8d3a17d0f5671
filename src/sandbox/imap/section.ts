import type { Header } from "../header.ts";
import { type MimePart, parseMime } from "../mime.ts";
import type { SectionItem } from "./fetch-item.ts";

/** The octets a BODY[…] asks for, or undefined where the message has no such part. */
export function readSection(raw: Buffer, item: SectionItem): Buffer | undefined {
  const octets = item.path.length === 0 ? readMessage(raw, parseMime(raw), item) : readNumbered(raw, item);
  const { partial } = item;
  return partial ? octets?.subarray(partial.offset, partial.offset + partial.length) : octets;
}

function readNumbered(raw: Buffer, item: SectionItem): Buffer | undefined {
  const part = findPart(parseMime(raw), item.path);
  if (!part) return undefined;
  if (item.text === undefined) return raw.subarray(part.header.end, part.end);
  if (item.text === "MIME") return raw.subarray(part.header.start, part.header.end);
  // RFC 3501 6.4.5: HEADER and TEXT of a numbered part are those of the message it carries.
  return part.message && readMessage(raw, part.message, item);
}

function readMessage(raw: Buffer, message: MimePart, item: SectionItem): Buffer {
  const { header, end } = message;
  const { text, fields = [] } = item;
  if (text === "HEADER") return raw.subarray(header.start, header.end);
  if (text === "TEXT") return raw.subarray(header.end, end);
  if (text === "HEADER.FIELDS" || text === "HEADER.FIELDS.NOT") {
    return pickFields(raw, header, fields, text === "HEADER.FIELDS");
  }
  return raw.subarray(header.start, end);
}

function pickFields(raw: Buffer, header: Header, names: readonly string[], wanted: boolean): Buffer {
  const fields = header.fields.filter((field) => names.includes(field.name) === wanted);
  const lines = fields.map((field) => raw.subarray(field.start, field.end));
  // RFC 3501 6.4.5: the blank line comes along, unless the message never had one.
  return Buffer.concat(header.hasBlankLine ? [...lines, Buffer.from("\r\n")] : lines);
}

/** RFC 3501 6.4.5: parts are counted in a multipart; a message that is none has one part, its body. */
function findPart(root: MimePart, path: readonly number[]): MimePart | undefined {
  let part = childOfMessage(root, path[0]);
  for (const number of path.slice(1)) {
    if (part?.message) part = childOfMessage(part.message, number);
    else part = part?.children[number - 1];
  }
  return part;
}

function childOfMessage(message: MimePart, number = 0): MimePart | undefined {
  if (message.children.length > 0) return message.children[number - 1];
  return number === 1 ? message : undefined;
}
