import type { Mechanism } from "./mechanism.ts";
import { readCredential } from "./names.ts";

/** draft-murchison-sasl-login: the name, then the password, each for a prompt. Outlook still speaks it. */
export const login: Mechanism = {
  name: "LOGIN",
  start() {
    let name: Buffer | undefined;
    return {
      next(response) {
        if (!response) return { challenge: Buffer.from("Username:") };
        if (!name) {
          name = Buffer.from(response);
          return { challenge: Buffer.from("Password:") };
        }
        return readCredential("LOGIN", { authcid: name, password: response });
      },
    };
  },
};
