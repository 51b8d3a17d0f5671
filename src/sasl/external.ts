import { decodeUtf8 } from "../wire/text.ts";
import type { Mechanism } from "./mechanism.ts";
import { readCertified } from "./names.ts";

/**
 * RFC 4422 A: the client has proved who it is by its certificate, and says at most whom to act as. Of several names
 * in one certificate that says which is meant.
 */
export const external: Mechanism = {
  name: "EXTERNAL",
  start: ({ certifiedNames = [] } = {}) => ({
    next(response) {
      // RFC 4422 A.1: without an initial response an empty challenge asks for one.
      if (!response) return { challenge: Buffer.alloc(0) };
      const asked = decodeUtf8(response)?.toLowerCase();
      const named = certifiedNames.find((name) => name.toLowerCase() === asked);
      const [only, ...others] = certifiedNames;
      if (only === undefined) return { refuse: { kind: "badCredential", detail: "no certificate" } };
      if (named === undefined && response.length === 0 && others.length > 0)
        return {
          refuse: { kind: "badCredential", detail: "a certificate of several names, and none chosen" },
        };
      return readCertified("EXTERNAL", {
        authcid: Buffer.from(named ?? only),
        authzid: named === undefined ? response : Buffer.alloc(0),
      });
    },
  }),
};
