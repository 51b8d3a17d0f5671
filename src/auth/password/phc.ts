import { decodeBase64 } from "../../wire/base64.ts";

/** Base64 as the PHC string format has it: standard alphabet, no padding, no hidden bits. Undefined for others. */
export function decodePhc(text: string): Buffer | undefined {
  return text.includes("=") ? undefined : decodeBase64(text + "=".repeat((4 - (text.length % 4)) % 4));
}

/** The reverse of `decodePhc`. */
export function encodePhc(bytes: Buffer): string {
  return bytes.toString("base64").replaceAll("=", "");
}
