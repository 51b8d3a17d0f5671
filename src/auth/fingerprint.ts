import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import type { Credential } from "../sasl/credential.ts";
import { canonicalName } from "./name.ts";

/**
 * Characters of base64, 18 bits: few enough that even with the key a hundred passwords of any long list fit it,
 * many enough that hardly any guess is taken for another one.
 */
const LENGTH = 3;

/** Makes texts that stand for a name with its password: two are alike when both are, and tell nothing of either. */
export function createFingerprints(
  secret: Uint8Array = randomBytes(32),
): (credential: Credential) => string | undefined {
  // As a key object: from plain bytes each HMAC would make one anew, at several times its own cost.
  const key = createSecretKey(createHmac("sha256", secret).update("password fingerprints").digest());
  return ({ authcid, password }) => {
    // A digest is over the session's stamp: the same password never looks the same.
    if (password === undefined) return undefined;
    const name = canonicalName(authcid);
    // Lengths first: no two lists of parts read alike.
    const hmac = createHmac("sha256", key).update(`${name.length}:${name}${password.length}:${password}`);
    return hmac.digest("base64url").slice(0, LENGTH);
  };
}
