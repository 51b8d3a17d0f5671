import { Refused } from "../../refusal.ts";
import type { Login, Protocol, UpstreamLine } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { commandLoop } from "../command-loop.ts";
import { deliveryDialect, type SmtpDelivery, saidBy, submissionDialect } from "./commands.ts";
import { formatReply } from "./grammar.ts";
import { reply } from "./replies.ts";
import { carryMail } from "./transaction.ts";
import { authenticate, beginDelivery, openUpstream } from "./upstream.ts";

async function leaveUpstream(upstream: UpstreamLine): Promise<void> {
  await upstream.channel.write("QUIT\r\n");
}

async function greet({ channel, frontend }: Session, delayMs: number): Promise<void> {
  // RFC 5321 3.1: a client waits for the greeting; who does not speaks something else.
  if (frontend.content.earlyTalkers === "refuse" && (await channel.speaksWithin(delayMs)))
    throw new Refused("notOurProtocol", "it spoke before the greeting");
  await channel.write(`220 ${frontend.hostname} ESMTP\r\n`);
}

/** Submission, RFC 6409: from users, who sign in. */
export const submission: Protocol<Login> = {
  name: "submission",
  alpn: ["smtp", "submission"],
  idleTimeout: "smtpIdle",
  greet: (session) => greet(session, 0),
  readLogin: (session) => commandLoop(session, submissionDialect),
  refuse: (session, refusal, login, final) =>
    session.channel.write(reply(refusal, login ? "login" : "command", session.id, final)),
  openUpstream,
  async loginUpstream(upstream, signIn) {
    if (!signIn) throw new Error("submission is entered by a password");
    await authenticate(upstream, signIn);
    return undefined;
  },
  leaveUpstream,
  accept: (session) => session.channel.write("235 2.7.0 Signed in\r\n"),
  relay: (session, upstream, desk) => carryMail(session, upstream, desk, undefined),
  farewell: (refusal) => reply(refusal, "command", ""),
};

/** SMTP, RFC 5321: from other servers, which do not. */
export const smtp: Protocol<SmtpDelivery> = {
  name: "smtp",
  alpn: ["smtp"],
  idleTimeout: "smtpIdle",
  greet: (session) => greet(session, session.frontend.content.greetDelay),
  async readLogin(session) {
    const said = saidBy(session);
    const delivery = said.next ?? (await commandLoop(session, deliveryDialect));
    said.next = undefined;
    return delivery;
  },
  refuse: (session, refusal, _delivery, final) =>
    session.channel.write(reply(refusal, "command", session.id, final)),
  openUpstream,
  async loginUpstream(upstream, _signIn, delivery) {
    await beginDelivery(upstream, delivery);
    return undefined;
  },
  leaveUpstream,
  async accept(session, delivery) {
    if (!delivery.reply) throw new Error("a delivery was accepted without its backend's reply");
    saidBy(session).current = delivery;
    await session.channel.write(Buffer.from(formatReply(delivery.reply), "latin1"));
  },
  async relay(session, upstream, desk) {
    const said = saidBy(session);
    said.mail = undefined;
    return carryMail(session, upstream, desk, said);
  },
  farewell: (refusal) => reply(refusal, "command", ""),
};
