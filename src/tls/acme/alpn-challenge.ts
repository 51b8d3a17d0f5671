import type { KeyPair } from "../key-pair.ts";
import type { Challenger } from "./challenge.ts";
import { newKey } from "./keys.ts";
import { loadLibrary } from "./library.ts";

/** Where a certificate for one handshake of ALPN `acme-tls/1` and this server name is put. */
export interface AlpnAnswers {
  answerChallenge(serverName: string, pair: KeyPair): Disposable;
}

/** tls-alpn-01 (RFC 8737): the proof is inside a certificate that only the authority's own handshake gets to see. */
export function alpnChallenger(answers: AlpnAnswers): Challenger {
  return {
    type: "tls-alpn-01",
    async present({ domain, keyAuthorization }) {
      const { crypto } = await loadLibrary();
      const key = await newKey("ecdsa");
      const identifier = { type: "dns", value: domain };
      const authorization = { identifier, status: "pending" as const, challenges: [], url: "" };
      const [, cert] = await crypto.createAlpnCertificate(authorization, keyAuthorization, key);
      const answer = answers.answerChallenge(domain, { cert: cert.toString(), key });
      return { [Symbol.asyncDispose]: async () => answer[Symbol.dispose]() };
    },
  };
}
