import { constants } from "node:crypto";
import type { SecureContextOptions } from "node:tls";

export type Profile = "modern" | "intermediate" | "legacy";

const TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

const FORWARD_SECRET = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
];

const OLD = [
  "DHE-RSA-AES128-GCM-SHA256",
  "DHE-RSA-AES256-GCM-SHA384",
  "DHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-SHA256",
  "ECDHE-RSA-AES128-SHA256",
  "ECDHE-ECDSA-AES128-SHA",
  "ECDHE-RSA-AES128-SHA",
  "ECDHE-ECDSA-AES256-SHA384",
  "ECDHE-RSA-AES256-SHA384",
  "ECDHE-ECDSA-AES256-SHA",
  "ECDHE-RSA-AES256-SHA",
  "DHE-RSA-AES128-SHA256",
  "DHE-RSA-AES256-SHA256",
  "AES128-GCM-SHA256",
  "AES256-GCM-SHA384",
  "AES128-SHA256",
  "AES256-SHA256",
  "AES128-SHA",
  "AES256-SHA",
  "DES-CBC3-SHA",
];

const CHACHA_FIRST = constants.SSL_OP_PRIORITIZE_CHACHA;
const CURVES = "X25519MLKEM768:X25519:prime256v1:secp384r1";

/**
 * What Mozilla's "Server Side TLS" asks for: modern and intermediate by its version 6.0, legacy by "old" of 5.8, the
 * last that has it. In one thing we differ: Mozilla leaves the order to the client, for the sake of phones without AES
 * in hardware. With PRIORITIZE_CHACHA they have their will, and all others get the list's order, as scanners want it.
 */
const PROFILES: Readonly<Record<Profile, SecureContextOptions>> = {
  modern: { minVersion: "TLSv1.3", ciphers: TLS13.join(":"), secureOptions: CHACHA_FIRST },
  intermediate: {
    minVersion: "TLSv1.2",
    ciphers: [...TLS13, ...FORWARD_SECRET].join(":"),
    secureOptions: CHACHA_FIRST,
  },
  legacy: {
    minVersion: "TLSv1",
    // Level 0: OpenSSL 3 counts the SHA-1 signatures of TLS 1.0 and 1.1, and 3DES, as no security at all.
    ciphers: [...TLS13, ...FORWARD_SECRET, ...OLD, "@SECLEVEL=0"].join(":"),
    dhparam: "auto",
  },
};

/** The part of a server's context that a profile decides. Never renegotiation: RFC 9325 3.5. */
export function profileOptions(profile: Profile): SecureContextOptions {
  const { secureOptions = 0, ...options } = PROFILES[profile];
  return {
    ...options,
    ecdhCurve: CURVES,
    honorCipherOrder: true,
    secureOptions: secureOptions | constants.SSL_OP_NO_RENEGOTIATION,
  };
}
