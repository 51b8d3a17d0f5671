import { type Header, headerValue } from "../header.ts";
import { countLines, type MimePart } from "../mime.ts";
import { type EnvelopeAddress, parseAddresses, parseParameterized } from "../structured-field.ts";
import { formatNstring, formatString } from "./format.ts";

/** RFC 3501 7.4.2, ENVELOPE. */
export function formatEnvelope(raw: Buffer, header: Header): string {
  const text = (name: string): string => formatNstring(headerValue(raw, header, name));
  const from = addressList(headerValue(raw, header, "from"));
  const list = (name: string): string => addressList(headerValue(raw, header, name));
  // An absent or empty Sender or Reply-To is the same as From.
  const orFrom = (name: string): string => (list(name) === "NIL" ? from : list(name));
  const addresses = [from, orFrom("sender"), orFrom("reply-to"), list("to"), list("cc"), list("bcc")];
  return `(${[text("date"), text("subject"), ...addresses, text("in-reply-to"), text("message-id")].join(" ")})`;
}

function addressList(value: string | undefined): string {
  const addresses = parseAddresses(value ?? "");
  return addresses.length === 0 ? "NIL" : `(${addresses.map(address).join("")})`;
}

function address({ name, mailbox, host }: EnvelopeAddress): string {
  // The second of the four is the source route, which nobody has used since RFC 5321.
  return `(${formatNstring(name)} NIL ${formatNstring(mailbox)} ${formatNstring(host)})`;
}

/** RFC 3501 7.4.2, BODY, or BODYSTRUCTURE when extended. */
export function formatBody(raw: Buffer, part: MimePart, extended: boolean): string {
  return part.children.length > 0 ? multipart(raw, part, extended) : leaf(raw, part, extended);
}

function multipart(raw: Buffer, part: MimePart, extended: boolean): string {
  const children = part.children.map((child) => formatBody(raw, child, extended)).join("");
  const extension = extended ? ` ${parameters(part.parameters)} ${commonExtension(raw, part)}` : "";
  return `(${children} ${formatString(part.subtype)}${extension})`;
}

function leaf(raw: Buffer, part: MimePart, extended: boolean): string {
  const field = (name: string): string | undefined => headerValue(raw, part.header, name);
  const pieces = [
    formatString(part.type),
    formatString(part.subtype),
    parameters(part.type === "text" ? withCharset(part.parameters) : part.parameters),
    formatNstring(field("content-id")),
    formatNstring(field("content-description")),
    formatString(field("content-transfer-encoding") || "7bit"),
    part.end - part.header.end,
  ];
  if (part.message) {
    pieces.push(formatEnvelope(raw, part.message.header), formatBody(raw, part.message, extended));
  }
  if (part.message || part.type === "text") pieces.push(countLines(raw, part.header.end, part.end));
  if (extended) pieces.push(formatNstring(field("content-md5")), commonExtension(raw, part));
  return `(${pieces.join(" ")})`;
}

/** RFC 2045 5.2: text that does not say is US-ASCII. */
function withCharset(given: MimePart["parameters"]): MimePart["parameters"] {
  return given.some(([name]) => name === "charset") ? given : [...given, ["charset", "us-ascii"]];
}

function parameters(given: MimePart["parameters"]): string {
  const pairs = given.map(([name, value]) => `${formatString(name)} ${formatString(value)}`);
  return pairs.length === 0 ? "NIL" : `(${pairs.join(" ")})`;
}

/** Disposition, language and location, which end both kinds of body. */
function commonExtension(raw: Buffer, part: MimePart): string {
  const disposition = headerValue(raw, part.header, "content-disposition");
  const languages = (headerValue(raw, part.header, "content-language") ?? "")
    .split(",")
    .map((tag) => tag.trim());
  const known = languages.filter((tag) => tag !== "");
  return [
    disposition === undefined ? "NIL" : formatDisposition(disposition),
    known.length === 0 ? "NIL" : `(${known.map(formatString).join(" ")})`,
    formatNstring(headerValue(raw, part.header, "content-location")),
  ].join(" ");
}

function formatDisposition(value: string): string {
  const disposition = parseParameterized(value);
  return `(${formatString(disposition.value)} ${parameters(disposition.parameters)})`;
}
