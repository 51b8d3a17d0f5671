import type { Refusal } from "../refusal.ts";
import { decodeUtf8, hasControl } from "../wire/text.ts";
import type { Credential } from "./credential.ts";

/** Longest name and password in bytes; RFC 4616 asks for 255 at least. */
const MAX_NAME = 255;
const MAX_PASSWORD = 1024;

const nobody = (detail: string): { refuse: Refusal } => ({ refuse: { kind: "badCredential", detail } });

/**
 * The one place where bytes of a client become names and a password. Control bytes end here, whatever
 * command or mechanism they came by: behind this point names go into logs, stores and backends' commands.
 */
export function readCredential(
  mechanism: string,
  bytes: { authzid?: Buffer; authcid: Buffer; password: Buffer },
): { credential: Credential } | { refuse: Refusal } {
  const { authcid: name, password: secret } = bytes;
  if (name.length === 0) return { refuse: { kind: "syntax", detail: "an empty name" } };
  if (name.length > MAX_NAME || (bytes.authzid?.length ?? 0) > MAX_NAME) return nobody("a name too long");
  if (secret.length > MAX_PASSWORD) return nobody("a password too long");
  const authcid = decodeUtf8(name);
  const password = decodeUtf8(secret);
  const authzid = bytes.authzid?.length ? decodeUtf8(bytes.authzid) : "";
  if (authcid === undefined || password === undefined || authzid === undefined) return nobody("not UTF-8");
  if (hasControl(authcid) || hasControl(authzid) || hasControl(password)) return nobody("control bytes");
  return { credential: { mechanism, authcid, password, ...(authzid && { authzid }) } };
}
