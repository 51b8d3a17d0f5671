import type { Channel } from "../io/channel.ts";
import type { MailFacts } from "../policy/hooks/hook.ts";
import type { EnvelopeRefusal, Refusal } from "../refusal.ts";
import type { Credential } from "../sasl/credential.ts";
import type { Peer, Session } from "./session.ts";

export type { MailFacts };

/** A complete try to come in, as one protocol read it; a protocol adds what its reply needs (IMAP: the tag). */
export interface Entry {
  readonly credential?: Credential;
  readonly recipient?: string;
  /** The message that the recipient belongs to. */
  readonly message?: () => MailFacts;
  /** Whether the message that the recipient belongs to has been counted already. */
  readonly counted?: boolean;
  /** No try yet: a trusted proxy has said who its client is, and the session begins anew for that one. */
  readonly named?: Peer;
}

/** By a password. */
export interface Login extends Entry {
  readonly credential: Credential;
}

/** By nothing so far. */
export interface NamedClient extends Entry {
  readonly credential?: never;
  readonly named: Peer;
}

/** Another server's first recipient, whole: nobody signs in, and the address says where it goes. */
export interface Delivery extends Entry {
  readonly recipient: string;
  readonly message: () => MailFacts;
}

/** What a protocol that looks on after login may ask on the way; each rejects with Refused, or has nothing to ask. */
export interface Desk {
  /** May this session begin one more message? */
  message(): Promise<void> | undefined;
  /** May this session name one more recipient? */
  recipient(message: () => MailFacts): Promise<void> | undefined;
  /** May this message's content come? */
  content(message: () => MailFacts): Promise<void> | undefined;
  /** The backend, or no route, takes mail for one that it named. */
  recipientRefused(): void;
  /** The backend of another recipient. */
  backendOf(recipient: string): string;
  /** Tells the log and the metrics of a no that ended nothing. */
  refused(kind: Refusal["kind"] | EnvelopeRefusal, detail: string): void;
  /** Tells what became of a message that the backend had whole; undefined when nobody knows. */
  delivered(accepted: boolean | undefined): void;
  /** Tells the log of what would have been refused. */
  observed(what: string, details: Readonly<Record<string, string>>): void;
}

/** What a backend is told to sign a user in there. */
export interface SignIn {
  /** RFC 4422: whose password it is. */
  readonly authcid: string;
  /** RFC 4422: whom to act as, where that is somebody else (a master user). */
  readonly authzid?: string;
  /** Secret. */
  readonly password: string;
  /** Whether the password is the client's own, so that the backend's no is an answer to the client. */
  readonly own: boolean;
}

/** Who the client of a session is, as a backend may be told. */
export interface ClientFacts {
  readonly address: string;
  readonly port: number;
  /** Where it connected to. */
  readonly local: { readonly address: string; readonly port: number };
  /** Nobody's: Postern asks for itself, and is itself the client. */
  readonly own?: boolean;
  /** The session's id. */
  readonly session: string;
  readonly tls?: {
    readonly version: string;
    readonly cipher: string;
    readonly serverName?: string;
    readonly alpn?: string;
    /** The name in a client certificate that was verified. */
    readonly commonName?: string;
  };
  /** How it named itself in SMTP. */
  readonly hello?: Hello;
  /** What it said of itself by ID in IMAP. */
  readonly device?: string;
  /** Who has signed in, by the name at the backend, where the backend is to believe us. */
  readonly login?: string;
}

/** How an SMTP client named itself, and by which command. */
export interface Hello {
  readonly name: string;
  readonly extended: boolean;
}

/** How a backend is told who the client is, once the connection stands: `offered`, by what it offers, if it does. */
export type Telling = "nothing" | "offered" | "xclient" | "id";

/** A live connection to a backend, in the words that a protocol needs to speak on it. */
export interface UpstreamLine {
  readonly channel: Channel;
  readonly backend: string;
  /** What is spoken there: a delivery by SMTP may end at an LMTP port. */
  readonly protocol: string;
  readonly tls: "none" | "starttls" | "implicit";
  /** The name that we go by, for a HELO. */
  readonly ourName: string;
  /** For whom it is made. */
  readonly client: ClientFacts;
  readonly telling: Telling;
  /** Whether the client's name goes into HELO instead of ours. */
  readonly helloAsClient: boolean;
  /** Says what came of telling: by what, or why not. */
  told(by: "xclient" | "id" | undefined, whyNot?: string): void;
  /** STARTTLS: begins TLS now, verified as configured. */
  startTls(): Promise<void>;
  /** What the backend offers before login, once `learned`. */
  readonly offers: readonly string[];
  /** Says what the backend offers before login: the next greeting is made of it. */
  learned(capabilities: readonly string[]): void;
}

/** What one protocol supplies to the story; `L` is its own kind of Login. */
export interface Protocol<L extends Entry = Entry> {
  readonly name: string;
  /** RFC 7301 names that a TLS client may ask for on this protocol's ports. */
  readonly alpn: readonly string[];
  /** The longest time that nothing may move after login, as a key of `timeouts`. */
  readonly idleTimeout: "imapIdle" | "pop3Idle" | "smtpIdle";
  greet(session: Session): Promise<void>;
  /** Everything before a password is complete. Undefined when the client left in order. */
  readLogin(session: Session): Promise<L | NamedClient | undefined>;
  /** Says no to a login, or, without one, to the session; `final` when the session ends with it. */
  refuse(session: Session, refusal: Refusal, login: L | undefined, final: boolean): Promise<void>;
  /** How the client named itself, where the protocol has clients do so. */
  helloOf?(session: Session): Hello | undefined;
  /** What the client said of itself, where the protocol has clients do so. */
  deviceOf?(session: Session): string | undefined;
  /** Opens the conversation with a backend far enough to know its capabilities, TLS included. */
  openUpstream(upstream: UpstreamLine): Promise<readonly string[]>;
  /** Signs in at an opened backend, or delivers there; returns what it offers from now on, where it says so. */
  loginUpstream(
    upstream: UpstreamLine,
    signIn: SignIn | undefined,
    login: L,
  ): Promise<readonly string[] | undefined>;
  /** Leaves a backend where nobody has signed in, in order. */
  leaveUpstream(upstream: UpstreamLine): Promise<void>;
  /** Tells the client that it is in. Called only after the backend's own OK. */
  accept(session: Session, login: L, capabilities: readonly string[] | undefined): Promise<void>;
  /**
   * Carries an accepted session to its end, for a protocol that looks on; without it bytes pass untouched.
   * Resolves to why it ended, or to "again" when the next thing the client asks for needs another backend.
   */
  relay?(session: Session, upstream: UpstreamLine, desk: Desk): Promise<string>;
  /** The last words to a client whose relay ends by our will, or undefined where the RFC wants silence. */
  farewell(refusal: Refusal): string | undefined;
}
