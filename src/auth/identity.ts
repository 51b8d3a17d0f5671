/** Who we take the client for, once a source of users has vouched for the credential. */
export interface Identity {
  /** Canonical name of the account, as its source spells it. */
  readonly user: string;
  /** The backend that the source names for this user; goes before the routes. */
  readonly backend?: string;
  /** The user's name at the backend, when the source gives one. */
  readonly login?: string;
  /**
   * Secret: the password itself, from a source that has checked a digest over it. A backend that takes the
   * client's own password gets it from here, for the client has not told it.
   */
  readonly password?: string;
}
