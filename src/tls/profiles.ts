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

const CURVES = "X25519MLKEM768:X25519:prime256v1:secp384r1";

/**
 * What Mozilla's "Server Side TLS" asks for: modern and intermediate by its version 6.0, where the ciphers are all
 * good and so the client's preference counts; legacy by "old" of 5.8, the last version that has it.
 */
const PROFILES: Readonly<Record<Profile, SecureContextOptions>> = {
  modern: { minVersion: "TLSv1.3", ciphers: TLS13.join(":"), ecdhCurve: CURVES, honorCipherOrder: false },
  intermediate: {
    minVersion: "TLSv1.2",
    ciphers: [...TLS13, ...FORWARD_SECRET].join(":"),
    ecdhCurve: CURVES,
    honorCipherOrder: false,
  },
  legacy: {
    minVersion: "TLSv1",
    // Level 0: OpenSSL 3 counts the SHA-1 signatures of TLS 1.0 and 1.1, and 3DES, as no security at all.
    ciphers: [...TLS13, ...FORWARD_SECRET, ...OLD, "@SECLEVEL=0"].join(":"),
    ecdhCurve: CURVES,
    honorCipherOrder: true,
    dhparam: "auto",
  },
};

/** The part of a server's context that a profile decides. Never renegotiation: RFC 9325 3.5. */
export function profileOptions(profile: Profile): SecureContextOptions {
  return { ...PROFILES[profile], secureOptions: constants.SSL_OP_NO_RENEGOTIATION };
}
