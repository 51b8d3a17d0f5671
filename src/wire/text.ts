const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what it is for
const CONTROL = /[\u0000-\u001f\u007f]/;

/** The text of valid UTF-8, or undefined: a name or password that is not UTF-8 is nobody's. */
export function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Whether CR, LF, NUL, TAB or another C0 control stands in it: such a name must go nowhere. */
export function hasControl(text: string): boolean {
  return CONTROL.test(text);
}
