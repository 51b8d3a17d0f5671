import { Refused } from "../../refusal.ts";
import { plainResponse } from "../../sasl/plain.ts";
import type { SignIn, UpstreamLine } from "../../session/protocol.ts";
import { printable } from "../../wire/printable.ts";
import {
  isQuotable,
  literalAtEnd,
  offersCapability as offer,
  parseCapabilities,
  parseReply,
  quote,
  type Reply,
} from "./grammar.ts";
import { type Field, formatId } from "./identification.ts";

/** Capability lists of real servers stay below 2 KiB; lines and answers beyond these are not IMAP's. */
const MAX_LINE = 16 * 1024;
const MAX_LINES = 128;

type Status = Exclude<Reply, { type: "continuation" }>;

/** What came back for one command: its tagged reply, or "+", and the capabilities named on the way. */
interface Answer {
  readonly status: Status | undefined;
  readonly capabilities: readonly string[] | undefined;
}

/** Greeting, STARTTLS where the backend is configured for it, and its capabilities as it has them then. */
export async function openUpstream(upstream: UpstreamLine): Promise<readonly string[]> {
  const greeting = await readReply(upstream);
  if (greeting.type === "continuation" || greeting.name !== "OK" || greeting.tag !== "*") {
    // PREAUTH too: whoever greets so has no idea who we are (RFC 9051 7.1.4: no STARTTLS is possible then).
    throw fault(`the backend did not greet with OK${textOf(greeting)}`, greeting);
  }
  const offers = capabilitiesIn(greeting) ?? (await askCapabilities(upstream));
  if (upstream.tls !== "starttls") return willIntroduce(upstream, offers);
  if (!offer(offers, "STARTTLS")) throw new Refused("unavailable", "the backend does not offer STARTTLS");
  expectOk(await command(upstream, "S", "STARTTLS"), "STARTTLS");
  await upstream.startTls();
  // RFC 9051 6.2.1: what was learned before TLS is forgotten.
  return willIntroduce(upstream, await askCapabilities(upstream));
}

/** Whether ID can say who the client is: known as soon as the backend is, and said with the login. */
function willIntroduce(upstream: UpstreamLine, offers: readonly string[]): readonly string[] {
  if (upstream.telling === "nothing") return offers;
  const offered = offer(offers, "ID");
  if (!offered && upstream.telling === "id")
    throw new Refused("unavailable", "the backend does not offer ID");
  upstream.told(offered ? "id" : undefined);
  return offers;
}

/** RFC 2971, once: Dovecot hears only the first. */
async function introduce(upstream: UpstreamLine, fields: readonly Field[]): Promise<void> {
  const { telling, client, offers } = upstream;
  if (telling === "nothing" || !offer(offers, "ID")) return;
  const answer = await command(upstream, "I", formatId(client, fields));
  if (answer.status?.name === "OK") return;
  if (telling === "id") throw fault("the backend refused ID", answer.status);
}

/** Signs in as told; throws Refused with the backend's own reason. Returns its capabilities from now on. */
export async function loginUpstream(
  upstream: UpstreamLine,
  signIn: SignIn | undefined,
  { fields = [] }: { readonly fields?: readonly Field[] } = {},
): Promise<readonly string[] | undefined> {
  if (!signIn) throw new Error("IMAP is entered by a password");
  await introduce(upstream, fields);
  const offers = upstream.offers;
  const answer = offer(offers, "AUTH=PLAIN")
    ? await authenticatePlain(upstream, signIn, offer(offers, "SASL-IR"))
    : await loginCommand(upstream, signIn, offers);
  if (answer.status?.name !== "OK") throw refusedBy(answer.status, signIn);
  if (answer.capabilities) return answer.capabilities;
  return askCapabilities(upstream);
}

/** LOGOUT without waiting: nobody has signed in, and nothing hangs on the answer. */
export async function leaveUpstream(upstream: UpstreamLine): Promise<void> {
  await upstream.channel.write("Z LOGOUT\r\n");
}

async function authenticatePlain(
  upstream: UpstreamLine,
  signIn: SignIn,
  initialResponse: boolean,
): Promise<Answer> {
  const response = plainResponse(signIn).toString("base64");
  if (initialResponse) return command(upstream, "A", `AUTHENTICATE PLAIN ${response}`);
  const challenge = await command(upstream, "A", "AUTHENTICATE PLAIN");
  // What is refused before the password was said is no word about the password.
  if (challenge.status) throw fault("the backend refused the mechanism", challenge.status);
  return finish(upstream, "A", `${response}\r\n`);
}

/** LOGIN, with a literal for what a quoted string cannot hold. */
async function loginCommand(
  upstream: UpstreamLine,
  signIn: SignIn,
  offers: readonly string[],
): Promise<Answer> {
  if (offer(offers, "LOGINDISABLED"))
    throw new Refused("unavailable", "the backend offers no way to sign in");
  if (signIn.authzid) {
    throw new Refused(
      "unavailable",
      "a master user without a separator needs AUTH=PLAIN, which the backend lacks",
    );
  }
  let line = "LOGIN";
  let answer: Answer | undefined;
  for (const text of [signIn.authcid, signIn.password]) {
    if (isQuotable(text)) {
      line += ` ${quote(text)}`;
      continue;
    }
    const size = Buffer.byteLength(text);
    // RFC 7888 5: LITERAL- is LITERAL+ up to 4096 bytes.
    if (offer(offers, "LITERAL+") || offer(offers, "LITERAL-")) {
      line += ` {${size}+}\r\n${text}`;
      continue;
    }
    answer = await finish(upstream, "A", `${answer ? "" : "A "}${line} {${size}}\r\n`);
    if (answer.status && text === signIn.authcid) throw fault("the backend refused LOGIN", answer.status);
    if (answer.status) return answer;
    line = text;
  }
  return finish(upstream, "A", `${answer ? "" : "A "}${line}\r\n`);
}

async function askCapabilities(upstream: UpstreamLine): Promise<readonly string[]> {
  const answer = await command(upstream, "C", "CAPABILITY");
  expectOk(answer, "CAPABILITY");
  return answer.capabilities ?? [];
}

function command(upstream: UpstreamLine, tag: string, text: string): Promise<Answer> {
  return finish(upstream, tag, `${tag} ${text}\r\n`);
}

/** Writes, and reads until "+" or the reply with `tag`; every other tagged line is one that nobody asked for. */
async function finish(upstream: UpstreamLine, tag: string, bytes: string): Promise<Answer> {
  await upstream.channel.write(bytes);
  let capabilities: readonly string[] | undefined;
  for (let lines = 0; lines < MAX_LINES; lines += 1) {
    const reply = await readReply(upstream);
    if (reply.type === "continuation") return { status: undefined, capabilities };
    capabilities = capabilitiesIn(reply) ?? capabilities;
    if (reply.type === "tagged") {
      if (reply.tag !== tag) throw fault("the backend answered a command that was not asked", reply);
      return { status: reply, capabilities };
    }
    if (reply.name === "BYE") throw fault("the backend said BYE", reply);
  }
  throw new Refused("unavailable", "the backend sent too many lines before its answer");
}

async function readReply(upstream: UpstreamLine): Promise<Reply> {
  const line = await upstream.channel.readLine(MAX_LINE);
  let piece = line;
  for (let literal = literalAtEnd(piece); literal; literal = literalAtEnd(piece)) {
    await upstream.channel.discard(literal.size);
    piece = await upstream.channel.readLine(MAX_LINE);
  }
  const reply = parseReply(line);
  if (!reply) throw new Refused("unavailable", "the backend does not speak IMAP");
  return reply;
}

function capabilitiesIn(reply: Reply): readonly string[] | undefined {
  if (reply.type === "continuation") return undefined;
  if (reply.type === "untagged" && reply.name === "CAPABILITY") return parseCapabilities(reply.text);
  const code = reply.code?.match(/^CAPABILITY (.*)$/i)?.[1];
  return code === undefined ? undefined : parseCapabilities(code);
}

function expectOk(answer: Answer, what: string): void {
  if (answer.status?.name !== "OK") throw fault(`the backend refused ${what}`, answer.status);
}

function fault(what: string, reply: Reply | undefined): Refused {
  return new Refused(
    "unavailable",
    reply && reply.type !== "continuation" ? `${what}: ${said(reply)}` : what,
  );
}

/** What a backend says before it has heard a secret may be repeated. */
function textOf(reply: Reply): string {
  return reply.type === "continuation" || reply.text === "" ? "" : ` ("${printable(reply.text, 200)}")`;
}

/** Without its text: backends repeat in it what they did not understand, and that may be the password. */
function said(status: Status): string {
  return printable(status.code ? `${status.name} [${status.code}]` : status.name, 100);
}

/** RFC 5530 codes of the backend, in our words. A master's password is ours: its refusal is no news for the client. */
function refusedBy(status: Status | undefined, signIn: SignIn): Refused {
  if (status?.name !== "NO") return fault("the backend did not take the login", status);
  const detail = `the backend refused the login: ${said(status)}`;
  switch (status.code?.split(" ")[0]?.toUpperCase()) {
    case "LIMIT":
      return new Refused("tooManySessions", detail);
    case "UNAVAILABLE":
    case "INUSE":
    case "SERVERBUG":
    case "CONTACTADMIN":
    case "PRIVACYREQUIRED":
      return new Refused("unavailable", detail);
    case "AUTHORIZATIONFAILED":
    case "EXPIRED":
      return new Refused(signIn.own ? "notAllowed" : "unavailable", detail);
    default:
      return new Refused(signIn.own ? "badCredential" : "unavailable", detail);
  }
}
