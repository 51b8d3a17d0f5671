import { once } from "node:events";
import { type AddressInfo, connect as connectTcp } from "node:net";
import { createServer } from "node:tls";
import type { Authority, Certificate } from "./certificates.ts";
import { type Conversation, connect } from "./conversation.ts";
import { BACKEND_NAME } from "./door.ts";
import type { Dovecot } from "./dovecot.ts";
import { type Gateway, startGateway, type User } from "./gateway.ts";
import { freePort } from "./ports.ts";
import { type Finished, runProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";

/** A ManageSieve server of a test. */
export interface SievePeer {
  readonly host: string;
  readonly port: number;
  readonly tls: "none" | "starttls" | "implicit";
}

/** Where a Dovecot speaks ManageSieve, in the way that its `tls` says; see `inTls` for implicit. */
export function sieveOf({ host, tls, sievePorts }: Dovecot): SievePeer {
  return { host, tls, port: tls === "implicit" ? sievePorts.implicit : sievePorts.plain };
}

/**
 * TLS from the first byte on, before a server that speaks clear text. Dovecot's own is no peer for a test: under
 * load its managesieve-login 2.3 overlooks a first command until more bytes come, with any client.
 */
export async function inTls(
  inner: SievePeer,
  certificate: Certificate,
): Promise<SievePeer & AsyncDisposable> {
  const server = createServer({ ...certificate, allowHalfOpen: true }, (outer) => {
    const behind = connectTcp({ host: inner.host, port: inner.port, allowHalfOpen: true });
    for (const [from, to] of [
      [outer, behind],
      [behind, outer],
    ] as const) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    tls: "implicit",
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

export interface SieveDoorOptions {
  readonly authority: Authority;
  readonly users: Readonly<Record<string, User>>;
  readonly backends: Readonly<Record<string, SievePeer>>;
  /** Keys of single backends, beside those that follow from the peer. */
  readonly backendKeys?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Everything else of postern.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A gateway with a ManageSieve listener, as its clients see it. */
export interface SieveDoor extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly port: number;
  /** What clients trust. */
  readonly trust: { readonly ca: string; readonly servername: string };
  /** Connected in clear text; the capabilities are the lines before its OK. */
  greeted(): Promise<{ client: Conversation; capabilities: string[] }>;
  /** The same, past STARTTLS. */
  secured(): Promise<{ client: Conversation; capabilities: string[] }>;
  /** Past AUTHENTICATE. */
  signedIn(user: string, password: string): Promise<Conversation>;
  /** sieve-connect, by STARTTLS, with these arguments. */
  sieveConnect(user: string, password: string, ...args: string[]): Promise<Finished>;
}

export async function openSieveDoor(options: SieveDoorOptions): Promise<SieveDoor> {
  const port = await freePort();
  const own = await options.authority.issue(["localhost", "127.0.0.1"]);
  const gateway = await startGateway({
    users: options.users,
    files: { "door.pem": own.cert, "door.key": own.key, "backends.pem": options.authority.ca },
    config: {
      hostname: "door.example.org",
      tls: { certificates: [{ cert: "door.pem", key: "door.key" }] },
      listeners: [{ protocol: "sieve", port, host: "127.0.0.1" }],
      backends: Object.fromEntries(
        Object.entries(options.backends).map(([name, peer]) => [
          name,
          {
            host: peer.host,
            protocols: { sieve: { port: peer.port, tls: peer.tls } },
            ...(peer.tls === "none" ? {} : { trust: { ca: "backends.pem", serverName: BACKEND_NAME } }),
            ...options.backendKeys?.[name],
          },
        ]),
      ),
      ...options.config,
    },
  });
  const trust = { ca: options.authority.ca, servername: "localhost" };

  const greeted = async () => {
    const client = await connect({ port, name: "the door" });
    return { client, capabilities: await capabilitiesTo(client) };
  };
  const secured = async () => {
    const { client } = await greeted();
    await client.send("STARTTLS");
    await client.expect("OK");
    await client.startTls(trust);
    return { client, capabilities: await capabilitiesTo(client) };
  };
  return {
    gateway,
    port,
    trust,
    greeted,
    secured,
    async signedIn(user, password) {
      const { client } = await secured();
      await client.send(authenticatePlain(user, password));
      await client.expect("OK");
      return client;
    },
    async sieveConnect(user, password, ...args) {
      await using home = await temporaryFolder();
      const always = ["--server", "127.0.0.1", "--port", `${port}`, "--nosrv", "--tlshostname", "localhost"];
      const trusting = ["--tlscafile", await home.write("ca.pem", trust.ca)];
      const as = ["--user", user, "--passwordfd", "0"];
      return await runProcess("sieve-connect", [...always, ...trusting, ...as, ...args], {
        env: { HOME: home.path },
        input: `${password}\n`,
      });
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

/** Capability lines up to their OK, which is not among them. */
export async function capabilitiesTo(client: Conversation): Promise<string[]> {
  return (await client.expectUntil("OK")).slice(0, -1);
}

/** The value of one capability, "" for one without; undefined where it is not there. */
export function capabilityOf(capabilities: readonly string[], name: string): string | undefined {
  const line = capabilities.find((each) => each === `"${name}"` || each.startsWith(`"${name}" `));
  return line && /^"[^"]*"(?: "([^"]*)")?$/.exec(line)?.[1];
}

export function authenticatePlain(user: string, password: string): string {
  return `AUTHENTICATE "PLAIN" "${Buffer.from(`\0${user}\0${password}`).toString("base64")}"`;
}
