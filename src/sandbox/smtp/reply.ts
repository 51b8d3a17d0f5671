/** RFC 5321 4.2: a code, and lines of text; RFC 2034 puts an enhanced status code before the text. */
export interface Reply {
  readonly code: number;
  readonly lines: readonly string[];
}

export function reply(code: number, ...lines: string[]): Reply {
  return { code, lines };
}

export function formatReply({ code, lines }: Reply): string {
  return lines.map((text, index) => `${code}${index < lines.length - 1 ? "-" : " "}${text}\r\n`).join("");
}
