import type { Refusal } from "../refusal.ts";
import type { Credential } from "./credential.ts";

/** What the server side of a mechanism does with a response: asks on, or is done. */
export type ServerStep =
  | { readonly challenge: Buffer }
  | { readonly credential: Credential }
  | { readonly refuse: Refusal };

/** What the connection itself says of the client. */
export interface Around {
  /** Names that a believed certificate of the client holds. */
  readonly certifiedNames?: readonly string[];
}

/** One mechanism, RFC 4422: how we play its server to a client. */
export interface Mechanism {
  readonly name: string;
  /** A new exchange; `next` takes the client's responses, first the initial one or undefined for none. */
  start(around?: Around): { next(response: Buffer | undefined): ServerStep };
}
