const CONTROL_OR_DIRECTION = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Client text made fit for a log or a reply: controls and direction overrides escaped, cut to `max`
 * characters. What it returns can neither start a new line nor move a terminal's cursor.
 */
export function printable(text: string, max = 128): string {
  const shown = text.length > max ? `${text.slice(0, max)}…` : text;
  return shown.replace(CONTROL_OR_DIRECTION, (sign) => `\\u{${(sign.codePointAt(0) ?? 0).toString(16)}}`);
}
