import type { Authority } from "./certificates.ts";
import type { Account } from "./clients.ts";
import { type Conversation, connect } from "./conversation.ts";
import { BACKEND_NAME, type ClientOptions } from "./door.ts";
import { type Gateway, startGateway, type User } from "./gateway.ts";
import { freePorts } from "./ports.ts";

/** A mail server that takes mail. */
export interface SmtpPeer {
  readonly host: string;
  readonly port: number;
  readonly tls: "none" | "starttls" | "implicit";
}

export interface SmtpDoorOptions {
  readonly authority: Authority;
  readonly users?: Readonly<Record<string, User>>;
  /** By name; the first is everybody's for submission unless `config` has routes. */
  readonly backends: Readonly<Record<string, SmtpPeer>>;
  /** What the backends speak; by default submission, and SMTP where there are `domains`. */
  readonly speaks?: readonly ("submission" | "smtp" | "lmtp")[];
  /** Domains that go to each backend, by its name, for mail from other servers. */
  readonly domains?: Readonly<Record<string, string | readonly string[]>>;
  /** Further files beside postern.yaml. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Keys of every backend, beside those that follow from the peer. */
  readonly backendKeys?: Readonly<Record<string, unknown>>;
  readonly listenerKeys?: Readonly<Record<string, unknown>>;
  /** Keys of port 25's listener. */
  readonly mxKeys?: Readonly<Record<string, unknown>>;
  /** Everything else of postern.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A gateway with the listeners of ports 25, 587 and 465, as its clients see it. */
export interface SmtpDoor extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly ports: { readonly mx: number; readonly starttls: number; readonly implicit: number };
  readonly trust: { readonly ca: string; readonly servername: string };
  account(user: string, password: string, tls?: Account["tls"]): Account;
  /** Port 587, greeted, in clear text. */
  greeted(options?: ClientOptions): Promise<Conversation>;
  /** Port 465, greeted and past EHLO. */
  greetedInTls(options?: ClientOptions): Promise<Conversation>;
  /** Port 465, signed in by AUTH PLAIN, with nothing left to read. */
  signedIn(user: string, password: string, options?: ClientOptions): Promise<Conversation>;
  /** Port 25, past EHLO. */
  fromServer(options?: ClientOptions): Promise<Conversation>;
}

/** Names of the listeners, as metrics and records say them. */
export const LISTENERS = { mx: "mx", starttls: "submission", implicit: "submissions" } as const;

export async function openSmtpDoor(options: SmtpDoorOptions): Promise<SmtpDoor> {
  const [mx = 0, starttls = 0, implicit = 0] = await freePorts(3);
  const own = await options.authority.issue(["localhost", "127.0.0.1"]);
  const speaks = options.speaks ?? (options.domains ? ["submission", "smtp"] : ["submission"]);
  const host = "127.0.0.1";
  const gateway = await startGateway({
    users: options.users ?? { "nobody@example.org": "unused" },
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
        { protocol: "smtp", port: mx, host, name: LISTENERS.mx, requireTls: false, ...options.mxKeys },
        { protocol: "submission", port: starttls, host, name: LISTENERS.starttls, ...options.listenerKeys },
        { protocol: "submission", port: implicit, host, name: LISTENERS.implicit, tls: "implicit" },
      ],
      backends: Object.fromEntries(
        Object.entries(options.backends).map(([name, peer]) => [
          name,
          {
            host: peer.host,
            tls: peer.tls,
            protocols: Object.fromEntries(speaks.map((protocol) => [protocol, peer.port])),
            ...(peer.tls === "none" ? {} : { trust: { ca: "backends.pem", serverName: BACKEND_NAME } }),
            ...options.backendKeys,
          },
        ]),
      ),
      routes: [
        ...Object.entries(options.domains ?? {}).map(([to, recipientDomain]) => ({
          match: { recipientDomain },
          to,
        })),
        { match: { protocol: "submission" }, to: Object.keys(options.backends)[0] },
      ],
      ...options.config,
    },
  });
  const trust = { ca: options.authority.ca, servername: "localhost" };

  const greeted = async (client: ClientOptions = {}) => {
    const conversation = await connect({ ...client, port: starttls, name: "the door" });
    await conversation.expect("220 ");
    return conversation;
  };
  const greetedInTls = async (client: ClientOptions = {}) => {
    const conversation = await connect({ ...client, port: implicit, tls: trust, name: "the door, in TLS" });
    await conversation.expect("220 ");
    await conversation.send("EHLO client.example.org");
    await conversation.expectUntil("250 ");
    return conversation;
  };
  return {
    gateway,
    ports: { mx, starttls, implicit },
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
    greetedInTls,
    async signedIn(user, password, client) {
      const conversation = await greetedInTls(client);
      await conversation.send(`AUTH PLAIN ${plain(user, password)}`);
      await conversation.expect("235 ");
      return conversation;
    },
    async fromServer(client = {}) {
      const conversation = await connect({ ...client, port: mx, name: "the door, port 25" });
      await conversation.expect("220 ");
      await conversation.send("EHLO mx.example.com");
      await conversation.expectUntil("250 ");
      return conversation;
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

/** RFC 4616. */
export function plain(user: string, password: string, authzid = ""): string {
  return Buffer.from(`${authzid}\0${user}\0${password}`).toString("base64");
}

/** Says each, and hears a line that begins so. */
export async function talk(
  client: Conversation,
  ...turns: readonly (readonly [said: string, heard: string | RegExp])[]
): Promise<string> {
  let last = "";
  for (const [said, heard] of turns) {
    await client.send(said);
    last = (await client.expectUntil(/^\d{3} /)).at(-1) ?? "";
    const fits = typeof heard === "string" ? last.startsWith(heard) : heard.test(last);
    if (!fits) throw new Error(`expected ${heard}, heard ${last}\n${client.transcript()}`);
  }
  return last;
}
