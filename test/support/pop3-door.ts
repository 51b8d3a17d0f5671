import type { Authority } from "./certificates.ts";
import type { Account } from "./clients.ts";
import { type Conversation, connect } from "./conversation.ts";
import { BACKEND_NAME, type ClientOptions, LISTENER } from "./door.ts";
import type { Dovecot } from "./dovecot.ts";
import { type Gateway, startGateway, type User } from "./gateway.ts";
import { freePorts } from "./ports.ts";

/** A POP3 server of a test. */
export interface Pop3Peer {
  readonly host: string;
  readonly port: number;
  readonly tls: "none" | "starttls" | "implicit";
}

/** The POP3 side of a Dovecot. */
export function pop3Of({ host, tls, pop3Ports }: Dovecot): Pop3Peer {
  return { host, tls, port: tls === "implicit" ? pop3Ports.implicit : pop3Ports.plain };
}

export interface Pop3DoorOptions {
  readonly authority: Authority;
  readonly users: Readonly<Record<string, User>>;
  readonly backends: Readonly<Record<string, Pop3Peer>>;
  /** Keys of single backends, beside those that follow from the peer. */
  readonly backendKeys?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Keys of the listener that begins in clear text. */
  readonly listenerKeys?: Readonly<Record<string, unknown>>;
  /** Everything else of postern.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A gateway with a POP3 listener of each kind, as its clients see it. */
export interface Pop3Door extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly ports: { readonly starttls: number; readonly implicit: number };
  readonly trust: { readonly ca: string; readonly servername: string };
  account(user: string, password: string, tls?: Account["tls"]): Account;
  /** Connected in clear text, and greeted. */
  greeted(options?: ClientOptions): Promise<Conversation>;
  /** Greeted, and past STLS. */
  secured(options?: ClientOptions): Promise<Conversation>;
  /** Connected by TLS, and greeted. */
  greetedInTls(options?: ClientOptions): Promise<Conversation>;
  /** Signed in by USER and PASS, with nothing left to read. */
  signedIn(user: string, password: string, options?: ClientOptions): Promise<Conversation>;
}

export async function openPop3Door(options: Pop3DoorOptions): Promise<Pop3Door> {
  const [starttls = 0, implicit = 0] = await freePorts(2);
  const own = await options.authority.issue(["localhost", "127.0.0.1"]);
  const gateway = await startGateway({
    users: options.users,
    files: { "door.pem": own.cert, "door.key": own.key, "backends.pem": options.authority.ca },
    config: {
      hostname: "door.example.org",
      tls: { certificates: [{ cert: "door.pem", key: "door.key" }] },
      listeners: [
        {
          protocol: "pop3",
          port: starttls,
          host: "127.0.0.1",
          name: LISTENER.starttls,
          ...options.listenerKeys,
        },
        { protocol: "pop3", port: implicit, host: "127.0.0.1", name: LISTENER.implicit, tls: "implicit" },
      ],
      backends: Object.fromEntries(
        Object.entries(options.backends).map(([name, peer]) => [
          name,
          {
            host: peer.host,
            tls: peer.tls,
            protocols: { pop3: peer.port },
            ...(peer.tls === "none" ? {} : { trust: { ca: "backends.pem", serverName: BACKEND_NAME } }),
            ...options.backendKeys?.[name],
          },
        ]),
      ),
      routes: [{ to: Object.keys(options.backends)[0] }],
      ...options.config,
    },
  });
  const trust = { ca: options.authority.ca, servername: "localhost" };

  const greeted = async (client: ClientOptions = {}) => {
    const conversation = await connect({ ...client, port: starttls, name: "the door" });
    await conversation.expect("+OK ");
    return conversation;
  };
  const greetedInTls = async (client: ClientOptions = {}) => {
    const conversation = await connect({ ...client, port: implicit, tls: trust, name: "the door, in TLS" });
    await conversation.expect("+OK ");
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
    async secured(client) {
      const conversation = await greeted(client);
      await conversation.send("STLS");
      await conversation.expect("+OK ");
      await conversation.startTls(trust);
      return conversation;
    },
    greetedInTls,
    async signedIn(user, password, client) {
      const conversation = await greetedInTls(client);
      await conversation.send(`USER ${user}`);
      await conversation.expect("+OK ");
      await conversation.send(`PASS ${password}`);
      await conversation.expect("+OK ");
      return conversation;
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}
