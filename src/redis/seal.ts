import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Shuts values in before they go to Redis, which may be read by others, and knows its own again. */
export interface Seal {
  shut(name: string, value: Uint8Array): string;
  /** Undefined when it was shut with another secret, under another name, or changed on its way. */
  open(name: string, sealed: string): Buffer | undefined;
}

/** AES-256-GCM under a key made from the secret that all replicas have in their configuration. */
export function sealWith(clusterSecret: string): Seal {
  const key = Buffer.from(hkdfSync("sha256", clusterSecret, "", "postern shared values", 32));
  return {
    shut(name, value) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(name));
      const shut = Buffer.concat([cipher.update(value), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), shut]).toString("base64");
    },
    open(name, sealed) {
      const bytes = Buffer.from(sealed, "base64");
      if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(name));
      decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      try {
        const rest = bytes.subarray(NONCE_BYTES + TAG_BYTES);
        return Buffer.concat([decipher.update(rest), decipher.final()]);
      } catch {
        return undefined;
      }
    },
  };
}
