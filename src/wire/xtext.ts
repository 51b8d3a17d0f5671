/** RFC 3461 section 4: bytes from "!" to "~" stand for themselves, but for the two that the form itself needs. */
const PLAIN = /[^!-*,-<>-~]/g;

/** Text as xtext: no space, no control byte and no byte beyond ASCII is left in it, whatever it was. */
export function xtext(text: string): string {
  return Buffer.from(text, "utf8")
    .toString("latin1")
    .replace(PLAIN, (byte) => `+${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}
