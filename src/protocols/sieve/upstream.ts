import { Refused } from "../../refusal.ts";
import { plainResponse } from "../../sasl/plain.ts";
import type { SignIn, UpstreamLine } from "../../session/protocol.ts";
import { printable } from "../../wire/printable.ts";
import { entriesOf } from "./capabilities.ts";
import { formatString, literalAtEnd, parseResponse, type Response } from "./grammar.ts";

/** Capability lists of real servers stay below 2 KiB; lines and answers beyond these are not ManageSieve's. */
const MAX_LINE = 16 * 1024;
const MAX_LINES = 128;
/** Of one response; RFC 5804 allows any string to be one. */
const MAX_LITERALS = 8;

type Status = Extract<Response, { type: "status" }>;

/** Greeting, STARTTLS where the backend is configured for it, and its capabilities as it has them then. */
export async function openUpstream(upstream: UpstreamLine): Promise<readonly string[]> {
  const offers = await readCapabilities(upstream);
  if (upstream.tls !== "starttls") return offers;
  if (!offers.includes("STARTTLS")) throw new Refused("unavailable", "the backend does not offer STARTTLS");
  const status = await ask(upstream, "STARTTLS");
  if (status.name !== "OK") throw fault("the backend refused STARTTLS", status);
  await upstream.startTls();
  // RFC 5804 2.2: what was learned before TLS is forgotten, and said again by itself.
  return readCapabilities(upstream);
}

/** Signs in as told; throws Refused with the backend's own reason. What it offers from now on, a client asks itself. */
export async function loginUpstream(upstream: UpstreamLine, signIn: SignIn | undefined): Promise<undefined> {
  if (!signIn) throw new Error("ManageSieve is entered by a password");
  // RFC 5804 2.1: every server has PLAIN, though perhaps only inside TLS.
  if (!upstream.offers.some((entry) => entry.toUpperCase() === "SASL PLAIN"))
    throw new Refused("unavailable", "the backend does not offer PLAIN");
  const response = formatString(plainResponse(signIn).toString("base64"), "client");
  const status = await ask(upstream, `AUTHENTICATE "PLAIN" ${response}`);
  if (status.name !== "OK") throw refusedBy(status, signIn);
  expectSilence(upstream);
}

/** LOGOUT without waiting: nobody has signed in, and nothing hangs on the answer. */
export async function leaveUpstream(upstream: UpstreamLine): Promise<void> {
  await upstream.channel.write("LOGOUT\r\n");
}

/** Reads capabilities up to the OK behind them; of a name that is said twice, the first counts. */
async function readCapabilities(upstream: UpstreamLine): Promise<readonly string[]> {
  const entries = new Map<string, readonly string[]>();
  for (let lines = 0; lines < MAX_LINES; lines += 1) {
    const response = await readResponse(upstream);
    if (response.type === "status") {
      if (response.name !== "OK")
        throw fault(`the backend did not greet with OK${textOf(response)}`, response);
      return [...new Set([...entries.values()].flat())];
    }
    const [name = "", value, ...more] = response.strings.map((bytes) => bytes.toString("latin1"));
    const key = name.toUpperCase();
    if (more.length === 0 && !entries.has(key)) entries.set(key, entriesOf(name, value));
  }
  throw new Refused("unavailable", "the backend sent too many capabilities");
}

async function ask(upstream: UpstreamLine, command: string): Promise<Status> {
  expectSilence(upstream);
  await upstream.channel.write(`${command}\r\n`);
  return readStatus(upstream);
}

/** A response that nobody asked for would be taken for the next command's: an OK for that of a password. */
function expectSilence({ channel }: UpstreamLine): void {
  if (channel.pending > 0)
    throw new Refused("unavailable", "the backend sent a response that nobody asked for");
}

async function readStatus(upstream: UpstreamLine): Promise<Status> {
  const response = await readResponse(upstream);
  if (response.type === "status") return response;
  throw new Refused("unavailable", "the backend asked where it should have answered");
}

async function readResponse(upstream: UpstreamLine): Promise<Response> {
  const { channel } = upstream;
  const pieces = [await channel.readLine(MAX_LINE)];
  for (let literals = 0; literals < MAX_LITERALS; literals += 1) {
    const size = literalAtEnd(pieces.at(-1) as Buffer);
    if (size === undefined) break;
    if (size > MAX_LINE) throw new Refused("unavailable", "the backend sent a literal too long");
    pieces.push(await channel.readExact(size), await channel.readLine(MAX_LINE));
  }
  const response = parseResponse(pieces);
  if (!response) throw new Refused("unavailable", "the backend does not speak ManageSieve");
  return response;
}

function fault(what: string, status: Status): Refused {
  return new Refused("unavailable", `${what}: ${said(status)}`);
}

/** What a backend says before it has heard a secret may be repeated. */
function textOf({ text }: Status): string {
  return text === "" ? "" : ` ("${printable(text, 200)}")`;
}

/** Without its text: backends repeat in it what they did not understand, and that may be the password. */
function said({ name, code }: Status): string {
  return printable(code ? `${name} (${code})` : name, 100);
}

/** RFC 5804 1.3 codes of the backend, in our words. A master's password is ours: its refusal is no news for the client. */
function refusedBy(status: Status, signIn: SignIn): Refused {
  // BYE too: a referral leads past this door, and every other one is the end of that backend for now.
  if (status.name !== "NO") return fault("the backend did not take the login", status);
  const detail = `the backend refused the login: ${said(status)}`;
  switch (status.code) {
    case "TRYLATER":
    case "AUTH-TOO-WEAK":
    case "ENCRYPT-NEEDED":
    case "TRANSITION-NEEDED":
      return new Refused("unavailable", detail);
    default:
      return new Refused(signIn.own ? "badCredential" : "unavailable", detail);
  }
}
