import type { Authority } from "./certificates.ts";
import type { Account } from "./clients.ts";
import { type Conversation, connect } from "./conversation.ts";
import { type Gateway, startGateway, type User } from "./gateway.ts";
import { freePorts } from "./ports.ts";

/** A mail server of a test: a Dovecot, or a scripted one. */
export interface Peer {
  readonly host: string;
  readonly port: number;
  readonly tls: "none" | "starttls" | "implicit";
}

/** The name in every right backend certificate, and the one that the door asks for. */
export const BACKEND_NAME = "backend.example.net";

export interface DoorOptions {
  readonly authority: Authority;
  readonly users: Readonly<Record<string, User>>;
  readonly backends: Readonly<Record<string, Peer>>;
  /** Further files beside postern.yaml. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Keys of single backends, beside those that follow from the peer. */
  readonly backendKeys?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Keys of both listeners. */
  readonly listenerKeys?: Readonly<Record<string, unknown>>;
  /** How many file descriptors each of the gateway's processes may have. */
  readonly descriptors?: number;
  /** Of the gateway, beside that of the tests. */
  readonly env?: NodeJS.ProcessEnv;
  /** Everything else of postern.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A gateway with an IMAP listener of each kind, as its clients see it. */
export interface Door extends AsyncDisposable {
  readonly gateway: Gateway;
  /** The port that begins in clear text, and the one that begins with TLS. */
  readonly ports: { readonly starttls: number; readonly implicit: number };
  /** What clients trust. */
  readonly trust: { readonly ca: string; readonly servername: string };
  /** What a mail program is told. */
  account(user: string, password: string, tls?: Account["tls"]): Account;
  /** Connected in clear text, and greeted. */
  greeted(options?: ClientOptions): Promise<Conversation>;
  /** Greeted, and past STARTTLS. */
  secured(options?: ClientOptions): Promise<Conversation>;
  /** Connected by TLS, and greeted. */
  greetedInTls(options?: ClientOptions): Promise<Conversation>;
  /** Signed in by LOGIN, with nothing left to read. */
  signedIn(user: string, password: string, options?: ClientOptions): Promise<Conversation>;
}

export interface ClientOptions {
  readonly localAddress?: string;
  readonly bytewise?: boolean;
  readonly timeoutMs?: number;
}

/** Names of the listeners, as metrics and records say them. */
export const LISTENER = { starttls: "clear", implicit: "tls" } as const;

export async function openDoor(options: DoorOptions): Promise<Door> {
  const [starttls = 0, implicit = 0] = await freePorts(2);
  const own = await options.authority.issue(["localhost", "127.0.0.1"]);
  const gateway = await startGateway({
    users: options.users,
    ...(options.descriptors !== undefined && { descriptors: options.descriptors }),
    ...(options.env && { env: options.env }),
    files: {
      "door.pem": own.cert,
      "door.key": own.key,
      "backends.pem": options.authority.ca,
      ...options.files,
    },
    config: {
      hostname: "door.example.org",
      tls: { certificates: [{ cert: "door.pem", key: "door.key" }] },
      listeners: [
        {
          protocol: "imap",
          port: starttls,
          host: "127.0.0.1",
          name: LISTENER.starttls,
          ...options.listenerKeys,
        },
        {
          protocol: "imap",
          port: implicit,
          host: "127.0.0.1",
          name: LISTENER.implicit,
          tls: "implicit",
          ...options.listenerKeys,
        },
      ],
      backends: Object.fromEntries(
        Object.entries(options.backends).map(([name, peer]) => [
          name,
          {
            host: peer.host,
            tls: peer.tls,
            protocols: { imap: peer.port },
            ...(peer.tls === "none" ? {} : { trust: { ca: "backends.pem", serverName: BACKEND_NAME } }),
            ...options.backendKeys?.[name],
          },
        ]),
      ),
      ...options.config,
    },
  });
  const trust = { ca: options.authority.ca, servername: "localhost" };

  const greeted = async (client: ClientOptions = {}) => {
    const conversation = await connect({ ...client, port: starttls, name: "the door" });
    await conversation.expect("* OK ");
    return conversation;
  };
  const secured = async (client: ClientOptions = {}) => {
    const conversation = await greeted(client);
    await conversation.send("tls STARTTLS");
    await conversation.expect("tls OK ");
    await conversation.startTls(trust);
    return conversation;
  };
  const greetedInTls = async (client: ClientOptions = {}) => {
    const conversation = await connect({ ...client, port: implicit, tls: trust, name: "the door, in TLS" });
    await conversation.expect("* OK ");
    return conversation;
  };

  return {
    gateway,
    ports: { starttls, implicit },
    trust,
    account: (user, password, tls = "implicit") => ({
      host: "localhost",
      port: tls === "implicit" ? implicit : starttls,
      tls,
      user,
      password,
      ca: trust.ca,
    }),
    greeted,
    secured,
    greetedInTls,
    async signedIn(user, password, client) {
      const conversation = await greetedInTls(client);
      await conversation.send(`in LOGIN "${user}" "${password}"`);
      await conversation.expectUntil("in OK ");
      return conversation;
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}
