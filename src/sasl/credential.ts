/** Whom a client says that it is, whatever command or mechanism it came by. */
interface Claim {
  /** The mechanism's registered name, or "LOGIN" for a protocol's own login command. */
  readonly mechanism: string;
  /** RFC 4422: the authentication identity, the name whose password this is. */
  readonly authcid: string;
  /** RFC 4422: the identity to act as, when the client named one. */
  readonly authzid?: string;
}

export interface PasswordCredential extends Claim {
  /** Secret: never logged, never part of a message. */
  readonly password: string;
}

/** A password proved without being told. */
export interface DigestCredential extends Claim {
  readonly digest: ApopDigest;
  readonly password?: undefined;
}

/** RFC 1939 7: MD5 over the stamp of this session's greeting and the password. */
export interface ApopDigest {
  readonly stamp: string;
  /** In hexadecimal, lower case. A password can be guessed from it: as secret as one. */
  readonly md5: string;
}

/** A name that the client's certificate has proved (RFC 4422 A): there is no password, and none to be had. */
export interface CertifiedCredential extends Claim {
  readonly certified: true;
  readonly password?: undefined;
  readonly digest?: undefined;
}

/** What a client offered to prove who it is. */
export type Credential = PasswordCredential | DigestCredential | CertifiedCredential;
