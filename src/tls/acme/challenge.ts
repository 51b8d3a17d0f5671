/** What the authority wants to see for one name. */
export interface Proof {
  readonly domain: string;
  readonly token: string;
  /** RFC 8555 8.1; for dns-01 its digest, as 8.4 wants it in the record. */
  readonly keyAuthorization: string;
}

/** One way to show an authority that a name is ours. */
export interface Challenger {
  readonly type: "http-01" | "tls-alpn-01" | "dns-01";
  /** Shows the proof until what it gives is disposed of. */
  present(proof: Proof, signal: AbortSignal): Promise<AsyncDisposable>;
}
