import type { Refusal } from "../refusal.ts";
import type { Credential } from "./credential.ts";

/** What the server side of a mechanism does with a response: asks on, or is done. */
export type ServerStep =
  | { readonly challenge: Buffer }
  | { readonly credential: Credential }
  | { readonly refuse: Refusal };

/** One mechanism, RFC 4422: how we play its server to a client. */
export interface Mechanism {
  readonly name: string;
  /** A new exchange; `next` takes the client's responses, first the initial one or undefined for none. */
  start(): { next(response: Buffer | undefined): ServerStep };
}
