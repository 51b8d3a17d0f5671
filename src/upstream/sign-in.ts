import { Refused } from "../refusal.ts";
import type { Credential } from "../sasl/credential.ts";
import type { SignIn } from "../session/protocol.ts";

/** How Postern signs in at a backend, as configured. */
export type UpstreamLogin =
  | "passthrough"
  | { readonly master: { readonly user: string; readonly password: string; readonly separator?: string } };

/**
 * What a backend is told: the client's own password under the user's name there, or a master's, who acts for
 * the user by SASL's authzid or, with a separator, by a name such as `bob*master` (Dovecot). `known` is the
 * client's password as its source has it, where the client itself gave only a digest; with a certificate there is none.
 */
export function signInAs(login: UpstreamLogin, name: string, credential: Credential, known?: string): SignIn {
  if (login === "passthrough") {
    const password = credential.password ?? known;
    if (password === undefined)
      throw new Refused("unavailable", `the backend wants a password, and ${credential.mechanism} gave none`);
    return { authcid: name, password, own: true };
  }
  const { user, password, separator } = login.master;
  return separator === undefined
    ? { authcid: user, authzid: name, password, own: false }
    : { authcid: `${name}${separator}${user}`, password, own: false };
}
