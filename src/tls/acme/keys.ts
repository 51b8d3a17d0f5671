import { generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";

export type KeyType = "ecdsa" | "rsa";

const make = promisify(generateKeyPair);

/** A private key in PEM: ECDSA P-256, or RSA of 2048 bits for the oldest of clients. */
export async function newKey(type: KeyType): Promise<string> {
  const { privateKey } =
    type === "rsa" ? await make("rsa", { modulusLength: 2048 }) : await make("ec", { namedCurve: "P-256" });
  return pemOf(privateKey);
}

function pemOf(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
