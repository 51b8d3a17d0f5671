export interface PlainCredential {
  readonly authzid?: string;
  readonly authcid: string;
  readonly password: string;
}

/** RFC 4616 2: authzid NUL authcid NUL password, in base64; undefined for anything else. */
export function readPlainResponse(base64: string): PlainCredential | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return undefined;
  const [authzid, authcid, password, ...rest] = Buffer.from(base64, "base64").toString().split("\0");
  const complete = authzid !== undefined && authcid && password !== undefined && rest.length === 0;
  return complete ? { authzid, authcid, password } : undefined;
}
