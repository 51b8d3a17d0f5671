/** A certificate chain, the leaf first, with its key: both PEM, the key without a passphrase. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}
