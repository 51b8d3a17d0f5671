import type { Credential } from "../sasl/credential.ts";
import type { Identity } from "./identity.ts";

/** Where a client knocks from, as far as a source may care. */
export interface Peer {
  readonly address: string;
  /** Whether the address is what a trusted proxy says. */
  readonly claimed?: boolean;
  readonly protocol: string;
}

export type SourceAnswer = { readonly known: false } | { readonly known: true; readonly identity: Identity };

/** One place that knows users. The chain asks its sources in order until one knows the user. */
export interface Source {
  /** For the log, such as `file /etc/postern/users.yaml`. */
  readonly name: string;
  /**
   * Resolves fast with `known: false` for a user it does not have. For one it has: the identity, or
   * Refused("badCredential"), or, only after the right password, Refused("notAllowed"). Refused("unavailable")
   * when it cannot tell; the signal's reason when the signal is aborted.
   */
  authenticate(credential: Credential, peer: Peer, signal?: AbortSignal): Promise<SourceAnswer>;
  /** Whether it can check a digest for any of its users now (RFC 1939 7: it must know the password itself). */
  readonly verifiesApop?: boolean;
  /** How many users it stands for when the chain picks one source to pretend; it needs `pretend` too. */
  readonly size?: number;
  /** Takes as long as a wrong password of some user here would, and says nothing. Throws as `authenticate`. */
  pretend?(credential: Credential, signal?: AbortSignal): Promise<void>;
}
