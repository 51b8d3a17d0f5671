import type { Mechanism } from "./mechanism.ts";
import { readCredential } from "./names.ts";

const NUL = 0;

/** RFC 4616: [authzid] NUL authcid NUL passwd, in one response. */
export const plain: Mechanism = {
  name: "PLAIN",
  start: () => ({
    next(response) {
      if (!response) return { challenge: Buffer.alloc(0) };
      const first = response.indexOf(NUL);
      const second = response.indexOf(NUL, first + 1);
      if (first === -1 || second === -1 || response.indexOf(NUL, second + 1) !== -1) {
        return { refuse: { kind: "syntax", detail: "a PLAIN response without its two NULs" } };
      }
      return readCredential("PLAIN", {
        authzid: response.subarray(0, first),
        authcid: response.subarray(first + 1, second),
        password: response.subarray(second + 1),
      });
    },
  }),
};

/** The client's side of it: the one response, before its base64. */
export function plainResponse(signIn: { authzid?: string; authcid: string; password: string }): Buffer {
  return Buffer.from(`${signIn.authzid ?? ""}\0${signIn.authcid}\0${signIn.password}`);
}
