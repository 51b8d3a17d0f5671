import { ChannelClosed } from "../../io/channel.ts";
import { type EnvelopeRefusal, type Refusal, Refused } from "../../refusal.ts";
import type { Desk, UpstreamLine } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { addressText, readCommand, refuseMail, type Said } from "./commands.ts";
import { ChunkChecker, DataFramer } from "./content.ts";
import { Extensions, ehloLines, maxSize } from "./extensions.ts";
import { FromGate } from "./from-header.ts";
import {
  type Command,
  type Envelope,
  formatEnvelope,
  formatReply,
  parseBdat,
  parseHelloName,
  parseMail,
  parseRcpt,
  type Reply,
} from "./grammar.ts";
import { envelopeReply, reply } from "./replies.ts";
import { ReplyQueue, type Slot } from "./reply-queue.ts";
import { isPositive, readReply } from "./upstream.ts";

/** RFC 5321 4.5.3.2.6: what a backend may take with a message that it has whole, in milliseconds. */
const PATIENCE = 10 * 60_000;
const NOTHING = Buffer.alloc(0);
/** Replies that may be owed to a client before it must read some. */
const MAX_OWED = 200;

/**
 * Carries a session's mail to its backend and looks on: MAIL, RCPT, DATA and BDAT pass in canonical form, content
 * is re-framed, limits are asked, and replies come back in order. Resolves to why it ended; "again" when the next
 * recipient needs another backend, which only a session of another server (`said`) can.
 */
export async function carryMail(
  session: Session,
  upstream: UpstreamLine,
  desk: Desk,
  said: Said | undefined,
): Promise<string> {
  return new MailRelay(session, upstream, desk, said).run();
}

/** Errors of somebody who does not speak SMTP, or speaks it to find out what breaks. */
const COUNTED: ReadonlySet<Refusal["kind"]> = new Set(["syntax", "order", "unknownCommand", "tooLong"]);

type Next = "go on" | "left" | "again" | "over";

class MailRelay {
  readonly #session: Session;
  readonly #upstream: UpstreamLine;
  readonly #desk: Desk;
  readonly #said: Said | undefined;
  readonly #backend: Extensions;
  readonly #queue: ReplyQueue;
  readonly #idleMs: number;
  /** The backend's connection is gone, or of no more use. */
  #lost = false;
  /** MAIL of the transaction that is open, as far as the client knows. */
  #mail: Envelope | undefined;
  /** Recipients that have gone to the backend in this transaction. */
  #recipients = 0;
  #chunks: ChunkChecker | undefined;
  #chunkGate: FromGate | undefined;
  /** RFC 3030 2: behind a BDAT that failed, only RSET helps. */
  #spoiled = false;
  /** What the backend said to a MAIL that the client has long heard 250 for: each of its recipients hears it. */
  #mailRefusal: Reply | undefined;
  /** Why the session is to end as soon as nothing is under way. */
  #stopping: Refused | undefined;
  #listening = false;

  constructor(session: Session, upstream: UpstreamLine, desk: Desk, said: Said | undefined) {
    this.#session = session;
    this.#upstream = upstream;
    this.#desk = desk;
    this.#said = said;
    this.#backend = new Extensions(upstream.offers);
    this.#queue = new ReplyQueue(session.channel);
    this.#idleMs = session.frontend.idleTimeoutMs;
    const begun = said?.current;
    if (begun?.mailTaken) this.#mail = begun.mail;
    else this.#mailRefusal = begun?.reply;
    if (begun?.reply && isPositive(begun.reply)) this.#recipients = 1;
  }

  async run(): Promise<string> {
    const { channel } = this.#session;
    channel.liftBudget();
    this.#upstream.channel.liftBudget();
    this.#stoppedBy((refused) => this.#stop(refused));
    const listening = this.#listen();
    try {
      let next: Next = "go on";
      while (next === "go on") next = await this.#step();
      if (next === "left" || next === "again") await this.#partInOrder();
      if (next === "again") return "again";
      return next === "left" ? "client left" : "backend closed";
    } catch (error) {
      if (error instanceof ChannelClosed && !this.#lost) await this.#letFinish();
      if (!(error instanceof Refused)) throw error;
      // The last words come in their turn: whoever waits for the backend's answers does not get these instead.
      await this.#queue.drained();
      await this.#queue.say(reply(error.refusal, "command", this.#session.id, true));
      return error.refusal.kind;
    } finally {
      this.#upstream.channel.destroy();
      await listening;
      this.#stoppedBy((refused) => channel.setDeadline(0, () => refused));
    }
  }

  #stoppedBy(stop: (refused: Refused) => void): void {
    const { channel } = this.#session;
    this.#session.relayedBy({ bytes: () => ({ in: channel.bytesRead, out: channel.bytesWritten }), stop });
  }

  /** A message under way may arrive, and its reply be heard; then the session ends. */
  #stop(refused: Refused): void {
    this.#stopping = refused;
    if (this.#listening) this.#await();
  }

  /** How long the client may say nothing: while the backend owes a reply it is not the client who is idle. */
  #await(): void {
    const { channel } = this.#session;
    const owed = this.#queue.length > 0;
    const stopping = this.#stopping;
    if (stopping && !owed) channel.setDeadline(0, () => stopping);
    else channel.setDeadline(owed ? PATIENCE : this.#idleMs, () => new Refused("idle", "no command in time"));
  }

  /** Hands the backend's replies to those who wait for them, until there is no backend any more. Never throws. */
  async #listen(): Promise<void> {
    try {
      for (;;) {
        const answer = await readReply(this.#upstream.channel);
        if (answer.code === 421) this.#lost = true;
        // From here on it is the client's turn: to take the reply, and then to say something.
        this.#session.channel.setDeadline(this.#idleMs, () => new Refused("idle", "replies are not read"));
        const awaited = await this.#queue.answer(answer);
        if (!awaited) break;
        if (this.#queue.length === 0) this.#upstream.channel.clearDeadline();
        this.#await();
      }
    } catch {
      // Closed, silent for too long, or not speaking SMTP: the client's next command hears of it.
    }
    this.#lost = true;
    this.#upstream.channel.destroy();
    await this.#queue.giveUp(envelopeReply("unknownFate")).catch(() => {});
  }

  async #step(): Promise<Next> {
    // RFC 2920 3.1: what a backend without PIPELINING has not been asked yet waits here.
    if (!this.#backend.has("PIPELINING")) await this.#queue.drained();
    if (this.#queue.failure instanceof Refused) throw this.#queue.failure;
    this.#await();
    this.#listening = true;
    const command = await readCommand(this.#session);
    this.#listening = false;
    if ("kind" in command) return this.#refuse(command);
    if (this.#lost && command.verb !== "QUIT") {
      await this.#queue.say(envelopeReply("backendGone"));
      return "over";
    }
    while (this.#queue.length >= MAX_OWED) await this.#queue.drained();
    return this.#obey(command);
  }

  #obey(command: Command): Promise<Next> {
    switch (command.verb) {
      case "MAIL":
        return this.#beginMail(command);
      case "RCPT":
        return this.#addRecipient(command);
      case "DATA":
        return this.#data(command);
      case "BDAT":
        return this.#bdat(command);
      case "RSET":
        return this.#reset(command);
      case "EHLO":
      case "HELO":
        return this.#hello(command);
      case "NOOP":
        return this.#forward("NOOP\r\n");
      case "VRFY":
        return this.#say("252 2.1.5 Send it, and it will be seen\r\n");
      case "HELP":
        return this.#say("214 2.0.0 RFC 5321 says it all\r\n");
      case "QUIT":
        return this.#quit();
      case "STARTTLS":
      case "AUTH":
        return this.#refuse({ kind: "order", detail: `${command.verb} in a session that is under way` });
      case "XCLIENT":
      case "XFORWARD":
        return this.#refuseEnvelope("notTrusted");
      case "EXPN":
      case "ETRN":
      case "TURN":
        return this.#refuseEnvelope("notImplemented");
      default:
        return this.#refuse({ kind: "unknownCommand", detail: "an unknown command" });
    }
  }

  async #beginMail({ rest }: Command): Promise<Next> {
    const envelope = parseMail(rest);
    if (!envelope) return this.#refuse({ kind: "syntax", detail: "MAIL without a path" });
    if (this.#mail) return this.#refuse({ kind: "order", detail: "MAIL in a transaction" });
    if (envelope.address !== "" && !this.#maySend([addressText(envelope) ?? ""], "MAIL FROM")) {
      return this.#refuseEnvelope("senderNotYours");
    }
    const refused = refuseMail(this.#session, envelope, [this.#backend]);
    if (typeof refused === "string") return this.#say(refused);
    const denied = refused ?? (await asked(this.#desk.message()));
    if (denied) return this.#refuse(denied);
    this.#mail = envelope;
    this.#mailRefusal = undefined;
    this.#recipients = 0;
    return this.#forward(formatEnvelope("MAIL FROM", envelope), (answer) => {
      if (!isPositive(answer)) this.#mail = undefined;
    });
  }

  async #addRecipient({ rest }: Command): Promise<Next> {
    const envelope = parseRcpt(rest);
    const recipient = envelope && addressText(envelope);
    if (recipient === undefined) return this.#refuse({ kind: "syntax", detail: "RCPT without a path" });
    if (!this.#backend.takes(envelope as Envelope)) return this.#refuseEnvelope("parameterNotOffered");
    if (this.#chunks || this.#spoiled) return this.#refuse({ kind: "order", detail: "RCPT behind BDAT" });
    if (this.#mailRefusal) return this.#say(formatReply(this.#mailRefusal));
    if (this.#recipients >= this.#maxRecipients) return this.#refuseEnvelope("tooManyRecipients");
    if (this.#said) {
      const elsewhere = await this.#elsewhere(recipient);
      if (typeof elsewhere === "object") return this.#refuse(elsewhere);
      if (elsewhere) return this.#turnTo(this.#said, envelope as Envelope, recipient);
    }
    const denied = await asked(this.#desk.recipient());
    if (denied) return this.#refuse(denied);
    this.#recipients += 1;
    return this.#forward(formatEnvelope("RCPT TO", envelope as Envelope), (answer) => {
      if (!isPositive(answer)) this.#recipients -= 1;
    });
  }

  /** RFC 2033 4.2: LMTP answers for each recipient, which one reply cannot say, so each gets its own transaction. */
  get #maxRecipients(): number {
    return this.#upstream.protocol === "lmtp" ? 1 : this.#session.frontend.content.maxRecipients;
  }

  async #elsewhere(recipient: string): Promise<boolean | Refusal> {
    try {
      return this.#desk.backendOf(recipient) !== this.#upstream.backend;
    } catch (error) {
      if (error instanceof Refused) return error.refusal;
      throw error;
    }
  }

  /** The first recipient of a transaction leads to another backend: the session begins again there. */
  async #turnTo(said: Said, rcpt: Envelope, recipient: string): Promise<Next> {
    // Only the replies say whether there is a transaction, and whether it has a recipient here.
    await this.#queue.drained();
    if (this.#recipients > 0) return this.#refuseEnvelope("otherBackend");
    const mail = this.#mail;
    if (!mail) return this.#say(reply({ kind: "order", detail: "" }, "command", this.#session.id));
    said.mail = mail;
    said.next = { recipient, counted: true, mail, rcpt, reply: undefined, mailTaken: false };
    return "again";
  }

  async #data({ rest }: Command): Promise<Next> {
    if (rest !== "") return this.#refuse({ kind: "syntax", detail: "DATA with an argument" });
    if (this.#chunks || this.#spoiled) return this.#refuse({ kind: "order", detail: "DATA behind BDAT" });
    // RFC 5321 4.3.2: content waits for 354, and who does not wait may be hiding commands in it, or it in commands.
    if (this.#session.channel.pending > 0) throw new Refused("notOurProtocol", "content before 354");
    const slot = await this.#send("DATA\r\n");
    const answer = await slot.reply;
    return answer?.code === 354 ? this.#content() : "go on";
  }

  /** Streams content until its true end; what spoils it on the way ends the backend's connection, never the message. */
  async #content(): Promise<Next> {
    const { channel, frontend } = this.#session;
    const framer = new DataFramer(frontend.content.bareNewlines);
    const gate = this.#gate();
    const limit = maxSize(this.#session, [this.#backend]);
    let spoiled: EnvelopeRefusal | undefined;
    channel.setDeadline(this.#idleMs, () => new Refused("idle", "no content in time"));
    for (let ended = false; !ended; ) {
      channel.refreshDeadline();
      const chunk = await channel.readSome();
      const framed = framer.push(chunk);
      ended = framed.ended;
      if (framed.used < chunk.length) channel.unread(chunk.subarray(framed.used));
      if (framer.bare && frontend.content.bareNewlines === "reject") spoiled ??= "bareNewline";
      if (framer.size > limit) spoiled ??= "messageTooBig";
      const pieces = gate && !spoiled ? gate.admit(framed.pieces, ended) : framed.pieces;
      if (pieces === "refused") spoiled = "senderNotYours";
      if (spoiled || pieces === "refused") this.#abandon();
      else if (ended) await this.#endOfData(pieces);
      else await this.#pass(pieces);
    }
    this.#endTransaction();
    if (!spoiled) return "go on";
    await this.#refuseEnvelope(spoiled);
    // Another server's session never needed this backend in particular; a user's has signed in at it.
    return this.#said ? "again" : "go on";
  }

  /** The backend has a message whole; what it says of it now is what becomes of it. */
  #watch(slot: Slot): void {
    void slot.reply.then((answer) => this.#desk.delivered(answer && isPositive(answer)));
  }

  async #endOfData(pieces: readonly Buffer[]): Promise<void> {
    if (this.#lost) return this.#queue.say(envelopeReply("unknownFate"));
    this.#owe();
    this.#watch(this.#queue.expect());
    await this.#pass(pieces);
  }

  async #bdat({ rest }: Command): Promise<Next> {
    const chunk = parseBdat(rest);
    // Without a count nobody knows where the next command begins.
    if (!chunk) throw new Refused("syntax", "BDAT whose end is not known");
    this.#session.channel.setDeadline(this.#idleMs, () => new Refused("idle", "no content in time"));
    const usable =
      this.#mail !== undefined && this.#recipients > 0 && !this.#spoiled && this.#backend.has("CHUNKING");
    if (!usable) {
      await this.#swallow(chunk.size);
      this.#spoiled = this.#mail !== undefined;
      return this.#refuse({ kind: "order", detail: "BDAT out of order" });
    }
    if (!this.#chunks) this.#chunkGate = this.#gate();
    this.#chunks ??= new ChunkChecker();
    if (this.#chunks.size + chunk.size > maxSize(this.#session, [this.#backend])) {
      await this.#swallow(chunk.size);
      return this.#spoil("messageTooBig");
    }
    // An empty last chunk brings no byte with which an open end would show.
    if (chunk.size === 0 && !this.#chunks.check(NOTHING, chunk.last)) return this.#spoil("bareNewline");
    await this.#pass([Buffer.from(`BDAT ${chunk.size}${chunk.last ? " LAST" : ""}\r\n`)]);
    const refused = await this.#passChunk(chunk.size, chunk.last, this.#chunks);
    if (refused) return this.#spoil(refused);
    if (this.#lost) return this.#say(envelopeReply("unknownFate"));
    this.#owe();
    const slot = this.#queue.expect();
    if (chunk.last) this.#watch(slot);
    if (chunk.last) this.#endTransaction();
    else if (!isPositive((await slot.reply) ?? { code: 451, lines: [] })) this.#spoiled = true;
    return "go on";
  }

  /** Passes a chunk on while nothing is wrong with it; whatever is ends the backend's connection. */
  async #passChunk(size: number, last: boolean, checker: ChunkChecker): Promise<EnvelopeRefusal | undefined> {
    const { channel } = this.#session;
    for (let left = size; left > 0; ) {
      channel.refreshDeadline();
      const some = await channel.readSome();
      const bytes = some.subarray(0, left);
      if (some.length > left) channel.unread(some.subarray(left));
      left -= bytes.length;
      const ended = last && left === 0;
      const pieces = this.#chunkGate?.admit([bytes], ended) ?? [bytes];
      // The backend waits for the chunk, and we for the header's end: a header belongs into the first chunk.
      const stuck = left === 0 && !ended && this.#chunkGate?.holds;
      if (!checker.check(bytes, ended)) return this.#breakChunk(left, "bareNewline");
      if (pieces === "refused" || stuck) return this.#breakChunk(left, "senderNotYours");
      await this.#pass(pieces);
    }
    return undefined;
  }

  async #breakChunk(left: number, why: EnvelopeRefusal): Promise<EnvelopeRefusal> {
    this.#abandon();
    await this.#swallow(left);
    return why;
  }

  /** Judges the From of a message, where a user sends it and somebody wants to know. */
  #gate(): FromGate | undefined {
    const judged = !this.#said && this.#session.frontend.content.senders !== "off";
    return judged ? new FromGate((addresses) => this.#maySend(addresses, "From")) : undefined;
  }

  /** Whether the user may send as all of these; one that he may not is only told of where senders are observed. */
  #maySend(addresses: readonly string[], field: string): boolean {
    const { user = "", frontend } = this.#session;
    const { senders, maySendAs } = frontend.content;
    if (this.#said || senders === "off") return true;
    const foreign = addresses.find((address) => !maySendAs(user, address));
    if (foreign === undefined) return true;
    if (senders === "enforce") return false;
    this.#desk.observed("senders", { field, address: foreign });
    return true;
  }

  async #spoil(kind: EnvelopeRefusal): Promise<Next> {
    this.#abandon();
    this.#spoiled = true;
    return this.#refuseEnvelope(kind);
  }

  async #swallow(size: number): Promise<void> {
    for (let left = size; left > 0; ) {
      this.#session.channel.refreshDeadline();
      const some = await this.#session.channel.readSome();
      if (some.length > left) this.#session.channel.unread(some.subarray(left));
      left -= Math.min(some.length, left);
    }
  }

  async #reset({ rest }: Command): Promise<Next> {
    if (rest !== "") return this.#refuse({ kind: "syntax", detail: "RSET with an argument" });
    this.#endTransaction();
    return this.#forward("RSET\r\n");
  }

  /** RFC 5321 4.1.4: EHLO is RSET too, and that is what the backend hears of it. */
  async #hello({ verb, rest }: Command): Promise<Next> {
    if (parseHelloName(rest) === undefined)
      return this.#refuse({ kind: "syntax", detail: "HELO without a name" });
    this.#endTransaction();
    const lines =
      verb === "HELO"
        ? [this.#session.frontend.hostname]
        : ehloLines(this.#session, [this.#backend], { auth: false, startTls: false });
    await this.#send("RSET\r\n", (answer) =>
      isPositive(answer) ? formatReply({ code: 250, lines }) : formatReply(answer),
    );
    return "go on";
  }

  async #quit(): Promise<Next> {
    await this.#queue.say("221 2.0.0 Until next time\r\n");
    return "left";
  }

  #endTransaction(): void {
    this.#mail = undefined;
    this.#mailRefusal = undefined;
    this.#recipients = 0;
    this.#chunks = undefined;
    this.#spoiled = false;
  }

  /** Passes a command on; `then` sees the backend's reply. */
  async #forward(
    command: string,
    then?: (answer: { code: number; lines: readonly string[] }) => void,
  ): Promise<Next> {
    const slot = await this.#send(command);
    if (then) void slot.reply.then((answer) => answer && then(answer));
    return "go on";
  }

  async #send(
    command: string,
    instead?: (answer: { code: number; lines: readonly string[] }) => string,
  ): Promise<Slot> {
    this.#owe();
    const slot = this.#queue.expect(instead);
    await this.#pass([Buffer.from(command, "latin1")]);
    return slot;
  }

  /** The backend owes a reply from now on. */
  #owe(): void {
    if (this.#lost) return;
    this.#upstream.channel.setDeadline(
      PATIENCE,
      () => new Refused("unavailable", "the backend took too long"),
    );
  }

  /** Writes to the backend; one that is gone is noticed by whoever listens to it. */
  async #pass(pieces: readonly Buffer[]): Promise<void> {
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    if (this.#lost || bytes.length === 0) return;
    await this.#upstream.channel.write(bytes).catch((error: unknown) => {
      if (!(error instanceof ChannelClosed || error instanceof Refused)) throw error;
    });
  }

  /** A message must not reach its end at the backend, and there is no other way to take it back. */
  #abandon(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#upstream.channel.destroy();
  }

  #say(text: string): Promise<Next> {
    return this.#queue.say(text).then(() => "go on");
  }

  async #refuse(refusal: Refusal): Promise<Next> {
    this.#desk.refused(refusal.kind, refusal.detail);
    await this.#queue.say(reply(refusal, "command", this.#session.id));
    if (COUNTED.has(refusal.kind)) this.#session.countError();
    return "go on";
  }

  async #refuseEnvelope(kind: EnvelopeRefusal): Promise<Next> {
    this.#desk.refused(kind, "mail on its way");
    return this.#say(envelopeReply(kind));
  }

  /** The client has left, or turns to another backend: nothing is open there any more but the session. */
  async #partInOrder(): Promise<void> {
    await this.#queue.drained();
    await this.#pass([Buffer.from("QUIT\r\n")]);
  }

  /** The client is gone; what the backend has whole, it may finish. */
  async #letFinish(): Promise<void> {
    await this.#queue.drained().catch(() => {});
  }
}

/** A policy's no as a value. */
async function asked(question: Promise<void>): Promise<Refusal | undefined> {
  try {
    await question;
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return error.refusal;
    throw error;
  }
}
