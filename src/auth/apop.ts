import { createHash, randomBytes } from "node:crypto";
import type { ApopDigest } from "../sasl/credential.ts";
import { hasControl } from "../wire/text.ts";
import { sameDigest } from "./password/scheme.ts";
import type { StoredPassword } from "./password/stored-password.ts";

const PLAIN = "{PLAIN}";
/** Stands in for a password that is stored as a hash; nobody ever learns it, not even we. */
const NOBODYS = randomBytes(12).toString("hex");

/** The password, where it is stored as it is and a client could have told it. */
export function passwordItself({ scheme, stored }: StoredPassword): string | undefined {
  const password = scheme === "PLAIN" ? stored.slice(PLAIN.length) : undefined;
  return password === undefined || hasControl(password) ? undefined : password;
}

/**
 * RFC 1939 7: the stored password, if the digest proves it; takes the same time for every other stored one and
 * every wrong digest.
 */
export function provenByDigest({ stamp, md5 }: ApopDigest, stored: StoredPassword): string | undefined {
  const password = passwordItself(stored);
  const expected = createHash("md5")
    .update(stamp)
    .update(password ?? NOBODYS)
    .digest();
  return sameDigest(expected, Buffer.from(md5, "hex")) ? password : undefined;
}
