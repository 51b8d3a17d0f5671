import { createCipheriv, createHmac } from "node:crypto";

/** RFC 8446 7.1: HKDF-Expand-Label with an empty context, for one block of SHA-256. */
function expandLabel(secret: Buffer, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([0, length, name.length]), name, Buffer.from([0])]);
  return createHmac("sha256", secret)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
    .subarray(0, length);
}

/** RFC 8446 4.6.3: `count` KeyUpdate messages in a row, each under the keys that the one before it brought. */
export function keyUpdates(clientTrafficSecret: Buffer, count: number, askBack: boolean): Buffer {
  const records: Buffer[] = [];
  let secret = clientTrafficSecret;
  for (let number = 0; number < count; number += 1) {
    records.push(sealed(secret, Buffer.from([24, 0, 0, 1, askBack ? 1 : 0, 22])));
    secret = expandLabel(secret, "traffic upd", 32);
  }
  return Buffer.concat(records);
}

/** The first record under these keys (RFC 8446 5.2), in TLS_AES_128_GCM_SHA256. */
function sealed(secret: Buffer, inner: Buffer): Buffer {
  const header = Buffer.from([23, 3, 3, 0, inner.length + 16]);
  const cipher = createCipheriv("aes-128-gcm", expandLabel(secret, "key", 16), expandLabel(secret, "iv", 12));
  cipher.setAAD(header);
  return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
}
