import type { Channel } from "../../io/channel.ts";
import { Refused } from "../../refusal.ts";
import { plainResponse } from "../../sasl/plain.ts";
import type { SignIn, UpstreamLine } from "../../session/protocol.ts";
import type { SmtpDelivery } from "./commands.ts";
import { Extensions } from "./extensions.ts";
import { type Envelope, formatEnvelope, parseReplyLine, type Reply } from "./grammar.ts";

/** RFC 5321 4.5.3.1.5 says 512; servers exceed it in their texts. */
const MAX_LINE = 2048;
const MAX_LINES = 128;
/** RFC 4954 4: an AUTH command with its initial response keeps to the length of a command. */
const MAX_AUTH_LINE = 510;

/** Greeting, EHLO (LHLO at an LMTP port), STARTTLS where the backend is configured for it, and EHLO again. */
export async function openUpstream(upstream: UpstreamLine): Promise<readonly string[]> {
  const greeting = await readReply(upstream.channel);
  if (greeting.code !== 220) throw fault("it did not greet with 220", greeting);
  const offers = await hello(upstream);
  if (upstream.tls !== "starttls") return offers;
  if (!new Extensions(offers).has("STARTTLS"))
    throw new Refused("unavailable", "the backend does not offer STARTTLS");
  const ready = await ask(upstream.channel, "STARTTLS\r\n");
  if (ready.code !== 220) throw fault("it refused STARTTLS", ready);
  await upstream.startTls();
  return hello(upstream);
}

/** RFC 4954, as the user; throws Refused with the backend's reason. */
export async function authenticate(upstream: UpstreamLine, signIn: SignIn): Promise<void> {
  const { mechanisms } = new Extensions(upstream.offers);
  const reply = mechanisms.includes("PLAIN")
    ? await authPlain(upstream.channel, signIn)
    : await authLogin(upstream.channel, signIn, mechanisms);
  if (reply.code === 235) return expectSilence(upstream.channel);
  // The text may repeat what we sent, so only the code is told.
  const detail = `the backend refused the login: ${reply.code}`;
  const refused = signIn.own && (reply.code === 535 || reply.code === 534);
  throw new Refused(refused ? "badCredential" : "unavailable", detail);
}

/** Repeats the transaction's beginning at its backend; the reply to the recipient is the client's. */
export async function beginDelivery(upstream: UpstreamLine, delivery: SmtpDelivery): Promise<void> {
  const mail = await offer(upstream, "MAIL FROM", delivery.mail);
  delivery.mailTaken = isPositive(mail);
  delivery.reply = delivery.mailTaken ? await offer(upstream, "RCPT TO", delivery.rcpt) : mail;
  if (delivery.reply.code === 421) throw fault("it closed the session", delivery.reply);
  expectSilence(upstream.channel);
}

/** No parameter goes to a backend that did not offer it: some are for trusted peers alone, and there we are one. */
async function offer(
  upstream: UpstreamLine,
  command: "MAIL FROM" | "RCPT TO",
  envelope: Envelope,
): Promise<Reply> {
  if (new Extensions(upstream.offers).takes(envelope))
    return ask(upstream.channel, formatEnvelope(command, envelope));
  return { code: 555, lines: ["5.5.4 Parameter not offered"] };
}

/** Reads whole replies; throws Refused("unavailable") for what no reply is. */
export class ReplyReader {
  readonly #channel: Channel;
  #code: number | undefined;
  #lines: string[] = [];

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** The next reply, or undefined while it has not arrived whole. */
  take(): Reply | undefined {
    for (let line = this.#channel.takeLine(MAX_LINE); line; line = this.#channel.takeLine(MAX_LINE)) {
      const read = parseReplyLine(line);
      if (!read || read.code !== (this.#code ?? read.code))
        throw new Refused("unavailable", "the backend does not speak SMTP");
      this.#lines.push(read.text);
      if (read.last) return this.#whole(read.code);
      this.#code = read.code;
      if (this.#lines.length >= MAX_LINES)
        throw new Refused("unavailable", "the backend's reply has too many lines");
    }
    return undefined;
  }

  async read(): Promise<Reply> {
    for (;;) {
      const reply = this.take();
      if (reply) return reply;
      await this.#channel.more();
    }
  }

  #whole(code: number): Reply {
    const reply = { code, lines: this.#lines };
    this.#code = undefined;
    this.#lines = [];
    return reply;
  }
}

/** One whole reply. */
function readReply(channel: Channel): Promise<Reply> {
  return new ReplyReader(channel).read();
}

export function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300;
}

async function hello({ channel, protocol, ourName }: UpstreamLine): Promise<readonly string[]> {
  const reply = await ask(channel, `${protocol === "lmtp" ? "LHLO" : "EHLO"} ${ourName}\r\n`);
  if (isPositive(reply)) return reply.lines.slice(1);
  const old = protocol === "lmtp" ? reply : await ask(channel, `HELO ${ourName}\r\n`);
  if (!isPositive(old)) throw fault("it refused our HELO", old);
  return [];
}

async function authPlain(channel: Channel, signIn: SignIn): Promise<Reply> {
  const response = plainResponse(signIn).toString("base64");
  const command = `AUTH PLAIN ${response}`;
  if (command.length <= MAX_AUTH_LINE) return ask(channel, `${command}\r\n`);
  const challenge = await ask(channel, "AUTH PLAIN\r\n");
  return challenge.code === 334 ? ask(channel, `${response}\r\n`) : challenge;
}

async function authLogin(channel: Channel, signIn: SignIn, mechanisms: readonly string[]): Promise<Reply> {
  if (!mechanisms.includes("LOGIN") || signIn.authzid) {
    throw new Refused("unavailable", "the backend offers no way to sign in that we can use");
  }
  let reply = await ask(channel, "AUTH LOGIN\r\n");
  for (const word of [signIn.authcid, signIn.password]) {
    if (reply.code !== 334) return reply;
    reply = await ask(channel, `${Buffer.from(word).toString("base64")}\r\n`);
  }
  return reply;
}

async function ask(channel: Channel, command: string): Promise<Reply> {
  expectSilence(channel);
  await channel.write(Buffer.from(command, "latin1"));
  return readReply(channel);
}

/** A reply that nobody asked for would be taken for the next command's, and every one behind it for the one before. */
function expectSilence(channel: Channel): void {
  if (channel.pending > 0) throw new Refused("unavailable", "the backend sent a reply that nobody asked for");
}

function fault(what: string, reply: Reply): Refused {
  return new Refused("unavailable", `the backend: ${what} (${reply.code})`);
}
