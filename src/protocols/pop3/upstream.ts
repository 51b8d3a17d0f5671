import { Refused } from "../../refusal.ts";
import { plainResponse } from "../../sasl/plain.ts";
import type { SignIn, UpstreamLine } from "../../session/protocol.ts";
import { printable } from "../../wire/printable.ts";
import { xclientWords } from "../xclient.ts";
import { findCapability, parseCapability, parseReply, type Reply } from "./grammar.ts";

/** RFC 2449 4: a reply's line has 512 octets; lines and lists beyond these are not POP3's. */
const MAX_LINE = 4096;
const MAX_LINES = 128;
/** RFC 2449 4: a command has 255 octets, the line end included. */
const MAX_COMMAND = 253;

/** What Dovecot reads of a command, the line end included. */
const MAX_XCLIENT = 1022;
const XCLIENT = ["ADDR", "PORT", "DESTADDR", "DESTPORT", "SESSION", "TTL", "CLIENT-TRANSPORT", "DESTNAME"];

type Status = Exclude<Reply, { type: "continuation" }>;

/** Greeting, STLS where the backend is configured for it, and its capabilities as it has them then. */
export async function openUpstream(upstream: UpstreamLine): Promise<readonly string[]> {
  const greeting = await readReply(upstream);
  expectOk(greeting, `the backend did not greet with +OK${textOf(greeting)}`);
  if (upstream.tls === "starttls") {
    expectOk(await command(upstream, "STLS"), "the backend does not begin TLS");
    await upstream.startTls();
  }
  await introduce(upstream, greeting);
  return askCapabilities(upstream);
}

/** XCLIENT, as Dovecot offers it in its greeting and takes it until somebody signs in. */
async function introduce(upstream: UpstreamLine, greeting: Reply): Promise<void> {
  const { telling, client } = upstream;
  if (telling === "nothing") return;
  if (greeting.type !== "ok" || greeting.code !== "XCLIENT") {
    if (telling === "xclient") throw new Refused("unavailable", "the backend does not offer XCLIENT to us");
    upstream.told(undefined);
    return;
  }
  const reply = await command(upstream, xclientWords(client, XCLIENT, MAX_XCLIENT));
  if (reply.type === "ok") return upstream.told("xclient");
  upstream.told(undefined, "it refused XCLIENT");
  if (!client.own || telling === "xclient") throw fault("the backend refused XCLIENT", reply);
}

/** Signs in as told; throws Refused with the backend's own reason. */
export async function loginUpstream(upstream: UpstreamLine, signIn: SignIn | undefined): Promise<undefined> {
  if (!signIn) throw new Error("POP3 is entered by a password");
  const mechanisms = findCapability(upstream.offers, "SASL") ?? [];
  const reply = mechanisms.some((name) => name.toUpperCase() === "PLAIN")
    ? await authenticatePlain(upstream, signIn)
    : await userAndPass(upstream, signIn);
  if (reply.type !== "ok") throw refusedBy(reply, signIn);
  // It would be taken for the reply to the client's first command, and every reply after it for the one before.
  if (upstream.channel.pending > 0)
    throw new Refused("unavailable", "the backend sent bytes behind its login reply");
}

/** QUIT without waiting: nobody has signed in, so there is no maildrop that it could change. */
export async function leaveUpstream(upstream: UpstreamLine): Promise<void> {
  await upstream.channel.write("QUIT\r\n");
}

/** RFC 5034 4: with an initial response where the line can hold it. */
async function authenticatePlain(upstream: UpstreamLine, signIn: SignIn): Promise<Reply> {
  const response = plainResponse(signIn).toString("base64");
  const whole = `AUTH PLAIN ${response}`;
  const reply = await command(upstream, whole.length <= MAX_COMMAND ? whole : "AUTH PLAIN");
  // A backend of RFC 1734 passes over an initial response, and asks for it.
  return reply.type === "continuation" ? command(upstream, response) : reply;
}

async function userAndPass(upstream: UpstreamLine, signIn: SignIn): Promise<Reply> {
  const { offers } = upstream;
  if (offers.length > 0 && !findCapability(offers, "USER"))
    throw new Refused("unavailable", "the backend offers no way to sign in");
  if (signIn.authzid) {
    throw new Refused(
      "unavailable",
      "a master user without a separator needs SASL PLAIN, which the backend lacks",
    );
  }
  const lines = [`USER ${signIn.authcid}`, `PASS ${signIn.password}`] as const;
  if (lines.some((line) => Buffer.byteLength(line) > MAX_COMMAND))
    throw new Refused("unavailable", "a name or password too long for USER and PASS");
  const reply = await command(upstream, lines[0]);
  return reply.type === "ok" ? command(upstream, lines[1]) : reply;
}

/** RFC 2449 5. A backend that has never heard of CAPA has nothing to offer but RFC 1939. */
async function askCapabilities(upstream: UpstreamLine): Promise<readonly string[]> {
  const reply = await command(upstream, "CAPA");
  if (reply.type === "err") return [];
  expectOk(reply, "the backend answered CAPA with a challenge");
  const capabilities: string[] = [];
  for (let lines = 0; lines < MAX_LINES; lines += 1) {
    const line = await upstream.channel.readLine(MAX_LINE);
    if (line.length === 1 && line[0] === 0x2e) return capabilities;
    const capability = parseCapability(line);
    if (capability) capabilities.push(capability);
  }
  throw new Refused("unavailable", "the backend's CAPA list does not end");
}

/** One command, one reply; what stands there before it is asked is a reply that nobody asked for. */
async function command(upstream: UpstreamLine, line: string): Promise<Reply> {
  if (upstream.channel.pending > 0)
    throw new Refused("unavailable", "the backend sent a reply that nobody asked for");
  await upstream.channel.write(`${line}\r\n`);
  return readReply(upstream);
}

async function readReply(upstream: UpstreamLine): Promise<Reply> {
  const reply = parseReply(await upstream.channel.readLine(MAX_LINE));
  if (!reply) throw new Refused("unavailable", "the backend does not speak POP3");
  return reply;
}

function expectOk(reply: Reply, what: string): void {
  if (reply.type !== "ok") throw fault(what, reply);
}

function fault(what: string, reply: Reply): Refused {
  return new Refused("unavailable", reply.type === "continuation" ? what : `${what}: ${said(reply)}`);
}

/** What a backend says before it has heard a secret may be repeated. */
function textOf(reply: Reply): string {
  return reply.type === "continuation" || reply.text === "" ? "" : ` ("${printable(reply.text, 200)}")`;
}

/** Without its text: backends repeat in it what they did not understand, and that may be the password. */
function said({ type, code }: Status): string {
  return printable(`${type === "ok" ? "+OK" : "-ERR"}${code ? ` [${code}]` : ""}`, 100);
}

/** RFC 2449 and 3206 codes of the backend, in our words. A master's password is ours: its refusal is no news for the client. */
function refusedBy(reply: Reply, signIn: SignIn): Refused {
  if (reply.type === "continuation") return fault("the backend asked for more than SASL PLAIN has", reply);
  const detail = `the backend refused the login: ${said(reply)}`;
  switch (reply.code?.split("/")[0]) {
    case "IN-USE":
      return new Refused("tooManySessions", detail);
    case "LOGIN-DELAY":
      return new Refused("tooFast", detail);
    case "SYS":
      return new Refused("unavailable", detail);
    default:
      return new Refused(signIn.own ? "badCredential" : "unavailable", detail);
  }
}
