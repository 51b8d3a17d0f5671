const MAX_NAME_BYTES = 255;
/** Controls, line separators and broken surrogates: they could speak for somebody in a log or a protocol. */
const UNFIT = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

/** Why a name can be nobody's, in words that do not repeat it; undefined for a fit one. */
export function nameProblem(name: string): string | undefined {
  if (name === "") return "an empty name";
  // Counted in UTF-16 units first, so that a megabyte is not encoded to learn that it is too long.
  if (name.length > MAX_NAME_BYTES || Buffer.byteLength(name) > MAX_NAME_BYTES) {
    return `a name of more than ${MAX_NAME_BYTES} bytes`;
  }
  return UNFIT.test(name) ? "a control character in a name" : undefined;
}

/** The form in which names are compared: NFC, and without case. */
export function canonicalName(name: string): string {
  return name.normalize("NFC").toLowerCase().normalize("NFC");
}
