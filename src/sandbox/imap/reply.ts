/** A tagged status response without its tag (RFC 3501 7.1). */
export interface Reply {
  readonly status: "OK" | "NO" | "BAD";
  readonly code?: string;
  readonly text: string;
}

export function ok(text: string, code?: string): Reply {
  return { status: "OK", text, ...(code && { code }) };
}

export function no(text: string, code?: string): Reply {
  return { status: "NO", text, ...(code && { code }) };
}

export function bad(text: string): Reply {
  return { status: "BAD", text };
}
