import { randomBytes } from "node:crypto";
import { Refused } from "../refusal.ts";
import type { Credential } from "../sasl/credential.ts";
import { pickFor } from "./decoy.ts";
import { createFingerprints } from "./fingerprint.ts";
import type { Identity } from "./identity.ts";
import { canonicalName, nameProblem } from "./name.ts";
import type { Peer, Source } from "./source.ts";

export interface AuthenticatorOptions {
  /** Asked in order until one knows the user. */
  readonly sources: readonly Source[];
  /** Texts that no name may hold: the master separators of the backends. */
  readonly forbiddenInNames?: readonly string[];
  /** As `FileSourceOptions.secret`. */
  readonly secret?: Uint8Array;
}

export interface Authenticator {
  /**
   * Who the client is. Rejects with Refused: "badCredential" for an unknown user, a wrong password and a
   * foreign authzid, all after the same work; "notAllowed"; "unavailable". Rejects with the signal's reason
   * when the client has left.
   */
  authenticate(credential: Credential, peer: Peer, signal?: AbortSignal): Promise<Identity>;
  /**
   * Stands for a name with its password, for who has to know whether it has seen both before, and tells neither;
   * undefined where the password is not known.
   */
  fingerprint(credential: Credential): string | undefined;
  /** Whether some source can check APOP now. */
  readonly verifiesApop: boolean;
}

/** No source has the name, or none was asked about it: no user is to be charged with the guess. */
const NOBODY = { unknownName: true } as const;

/** The chain of sources behind one question. */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { sources, forbiddenInNames = [], secret = randomBytes(32) } = options;
  return {
    fingerprint: createFingerprints(secret),
    get verifiesApop() {
      return sources.some((source) => source.verifiesApop);
    },
    async authenticate(credential, peer, signal) {
      // Nobody's name and nobody's password: to answer these at once tells nothing about anybody.
      const problem = unfit(credential, forbiddenInNames);
      if (problem) throw new Refused("badCredential", problem, NOBODY);

      if (!actsAsSelf(credential)) {
        // No source is asked: a right password would be a login there, and would show in the time.
        await pretend(sources, secret, credential, signal);
        throw new Refused("badCredential", "an authorization identity other than the user's own", NOBODY);
      }
      for (const source of sources) {
        const answer = await source.authenticate(credential, peer, signal);
        if (answer.known) return answer.identity;
      }
      await pretend(sources, secret, credential, signal);
      throw new Refused("badCredential", "unknown user", NOBODY);
    },
  };
}

function unfit({ authcid, authzid, password }: Credential, forbidden: readonly string[]): string | undefined {
  for (const name of authzid ? [authcid, authzid] : [authcid]) {
    const problem = nameProblem(name);
    if (problem) return problem;
    if (forbidden.some((text) => text !== "" && name.includes(text))) return "a master separator in a name";
  }
  // An empty password is an anonymous bind to LDAP; line ends and NUL would speak for the client elsewhere.
  if (password === "") return "an empty password";
  return password && /[\0\r\n]/.test(password) ? "a control character in a password" : undefined;
}

/** RFC 4422 section 2: the client may leave the identity to act as to us, or name it; only its own is allowed. */
function actsAsSelf({ authcid, authzid }: Credential): boolean {
  return !authzid || canonicalName(authzid) === canonicalName(authcid);
}

/**
 * Spends what a wrong password would have cost, once for the whole chain: a source that paid for every user
 * of the next one would tell where a user is. Which source is as likely as it has users.
 */
async function pretend(
  sources: readonly Source[],
  secret: Uint8Array,
  credential: Credential,
  signal: AbortSignal | undefined,
): Promise<void> {
  const able = sources.filter(({ pretend }) => pretend);
  const choices = able.map((source) => ({
    key: source.name,
    weight: Math.max(1, source.size ?? 1),
    value: source,
  }));
  const chosen = pickFor(secret, canonicalName(credential.authcid), choices);
  await chosen?.pretend?.(credential, signal);
}
