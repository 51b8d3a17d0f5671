import { LineBuffer } from "./line-buffer.ts";

/**
 * Postfix's policy delegation protocol (SMTPD_POLICY_README) as bytes: lines of `name=value`, and a blank line that
 * ends a request as it ends a reply, whose one attribute is `action`.
 */
export type PolicyAttributes = ReadonlyMap<string, string>;

export interface AttributeBounds {
  /** Bytes of one line, without its end. */
  readonly line: number;
  /** Bytes of all lines of a request or a reply, without their ends. */
  readonly bytes: number;
  readonly attributes: number;
}

/** Postfix sends some forty attributes; its longest are a certificate's names and addresses of a command line. */
export const ATTRIBUTE_BOUNDS: AttributeBounds = { line: 8192, bytes: 65_536, attributes: 200 };

/** Why what came is neither a request nor a reply. After it nobody knows where the next one begins. */
export type AttributeFault =
  | "lineTooLong"
  | "tooManyBytes"
  | "tooManyAttributes"
  | "noName"
  | "controlByte"
  | "empty";

// What is not UTF-8 in a name or an address is no reason to lose the message's other attributes.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const EQUALS = 0x3d;
const NUL = 0x00;
const CR = 0x0d;

/** Requests or replies out of bytes as they arrive; how the stream was cut makes no difference. */
export class PolicyAttributeReader {
  readonly #bounds: AttributeBounds;
  readonly #lines = new LineBuffer();
  #attributes = new Map<string, string>();
  #lineCount = 0;
  #bytes = 0;
  #fault: AttributeFault | undefined;

  constructor(bounds: AttributeBounds = ATTRIBUTE_BOUNDS) {
    this.#bounds = bounds;
  }

  /** Whether anything has come since the last one ended. */
  get begun(): boolean {
    return this.#lineCount > 0 || this.#lines.length > 0;
  }

  push(chunk: Buffer): void {
    if (this.#fault === undefined) this.#lines.push(chunk);
  }

  /** The next one, undefined while it has not ended, or what is wrong with it: then that is all that there will be. */
  take(): PolicyAttributes | AttributeFault | undefined {
    while (this.#fault === undefined) {
      const line = this.#lines.takeLine(this.#bounds.line);
      if (line === undefined) return undefined;
      if (line !== "tooLong" && line.length === 0 && this.#lineCount > 0) return this.#whole();
      this.#fault = line === "tooLong" ? "lineTooLong" : this.#add(line);
    }
    return this.#fault;
  }

  #whole(): PolicyAttributes {
    const attributes = this.#attributes;
    this.#attributes = new Map();
    this.#lineCount = 0;
    this.#bytes = 0;
    return attributes;
  }

  #add(line: Buffer): AttributeFault | undefined {
    if (line.length === 0) return "empty";
    this.#lineCount += 1;
    this.#bytes += line.length;
    if (this.#lineCount > this.#bounds.attributes) return "tooManyAttributes";
    if (this.#bytes > this.#bounds.bytes) return "tooManyBytes";
    if (line.includes(NUL) || line.includes(CR)) return "controlByte";
    // A value may hold more of them: a base64 value does.
    const equals = line.indexOf(EQUALS);
    if (equals < 1) return "noName";
    const name = decoder.decode(line.subarray(0, equals));
    // Sent twice, the first counts: what a client can say comes behind what Postfix knows for itself.
    if (!this.#attributes.has(name)) this.#attributes.set(name, decoder.decode(line.subarray(equals + 1)));
    return undefined;
  }
}

/**
 * A request or a reply in bytes. Control bytes become question marks, as Postfix has it: no value can end its line,
 * add an attribute or end the request.
 */
export function formatPolicyAttributes(attributes: Iterable<readonly [name: string, value: string]>): Buffer {
  let text = "";
  for (const [name, value] of attributes) text += `${neutral(name).replaceAll("=", "?")}=${neutral(value)}\n`;
  return Buffer.from(`${text}\n`);
}

function neutral(text: string): string {
  return text.toWellFormed().replace(/\p{Cc}/gu, "?");
}
