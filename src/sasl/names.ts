import type { Refusal } from "../refusal.ts";
import { decodeUtf8, hasControl } from "../wire/text.ts";
import type { ApopDigest, CertifiedCredential, DigestCredential, PasswordCredential } from "./credential.ts";

/** Longest name and password in bytes; RFC 4616 asks for 255 at least. */
const MAX_NAME = 255;
const MAX_PASSWORD = 1024;

interface Refuse {
  readonly refuse: Refusal;
}

const nobody = (detail: string): Refuse => ({ refuse: { kind: "badCredential", detail } });

/**
 * The one place where bytes of a client become names and a password. Control bytes end here, whatever
 * command or mechanism they came by: behind this point names go into logs, stores and backends' commands.
 */
export function readCredential(
  mechanism: string,
  bytes: { authzid?: Buffer; authcid: Buffer; password: Buffer },
): { credential: PasswordCredential } | Refuse {
  if (bytes.password.length > MAX_PASSWORD) return nobody("a password too long");
  const names = readNames(bytes);
  if ("refuse" in names) return names;
  const password = decodeUtf8(bytes.password);
  if (password === undefined) return nobody("not UTF-8");
  if (hasControl(password)) return nobody("control bytes");
  return { credential: { mechanism, ...names, password } };
}

/** The same for a name and a digest; the caller has checked the digest's form. */
export function readDigest(
  mechanism: string,
  { authcid, digest }: { authcid: Buffer; digest: ApopDigest },
): { credential: DigestCredential } | Refuse {
  const names = readNames({ authcid });
  return "refuse" in names ? names : { credential: { mechanism, ...names, digest } };
}

/** The same for a name out of a believed certificate. */
export function readCertified(
  mechanism: string,
  bytes: { authcid: Buffer; authzid: Buffer },
): { credential: CertifiedCredential } | Refuse {
  const names = readNames(bytes);
  return "refuse" in names ? names : { credential: { mechanism, ...names, certified: true } };
}

function readNames(bytes: {
  authzid?: Buffer;
  authcid: Buffer;
}): { authcid: string; authzid?: string } | Refuse {
  const { authcid: name, authzid: other } = bytes;
  if (name.length === 0) return { refuse: { kind: "syntax", detail: "an empty name" } };
  if (name.length > MAX_NAME || (other?.length ?? 0) > MAX_NAME) return nobody("a name too long");
  const authcid = decodeUtf8(name);
  const authzid = other?.length ? decodeUtf8(other) : "";
  if (authcid === undefined || authzid === undefined) return nobody("not UTF-8");
  if (hasControl(authcid) || hasControl(authzid)) return nobody("control bytes");
  return { authcid, ...(authzid && { authzid }) };
}
