import { X509Certificate } from "node:crypto";
import { altNames, commonName } from "./alt-names.ts";
import type { KeyPair } from "./key-pair.ts";

const DNS_NAME = /^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/** One certificate of ours with its key, and what its leaf says. */
export class Certificate {
  readonly pair: KeyPair;
  /** Its DNS names in lower case, wildcards as `*.example.org`. RFC 9525 6.3: a common name is none. */
  readonly names: readonly string[];
  /** What people know it by: its first name. */
  readonly name: string;
  readonly expiresAt: Date;
  /** Stays the same when the certificate is renewed: all names that it is for. */
  readonly identity: string;

  /** Throws OpenSSL's error for what is no certificate. */
  constructor(pair: KeyPair) {
    const leaf = new X509Certificate(pair.cert);
    this.pair = pair;
    this.names = altNames(leaf, "DNS").filter((name) => DNS_NAME.test(name));
    this.name = this.names[0] ?? commonName(leaf) ?? "nameless";
    this.expiresAt = leaf.validToDate;
    this.identity = this.names.length > 0 ? this.names.toSorted().join(" ") : leaf.fingerprint256;
  }
  isOf({ cert, key }: KeyPair): boolean {
    return this.pair.cert === cert && this.pair.key === key;
  }
}
