/** What a client offered to prove who it is, whatever command or mechanism it came by. */
export interface Credential {
  /** The mechanism's registered name, or "LOGIN" for a protocol's own login command. */
  readonly mechanism: string;
  /** RFC 4422: the authentication identity, the name whose password this is. */
  readonly authcid: string;
  /** RFC 4422: the identity to act as, when the client named one. */
  readonly authzid?: string;
  /** Secret: never logged, never part of a message. */
  readonly password: string;
}
