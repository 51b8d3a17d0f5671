import { ChannelClosed } from "../../io/channel.ts";
import { type EnvelopeRefusal, type Refusal, Refused } from "../../refusal.ts";
import type { Desk, UpstreamLine } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { BackendLine, PATIENCE } from "./backend-line.ts";
import { refuseMail, type Said, takeCommand } from "./commands.ts";
import { ChunkChecker } from "./content.ts";
import { ehloLines, maxSize } from "./extensions.ts";
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
import { addressText, mailFacts } from "./mail-facts.ts";
import { passChunk, passData, swallow } from "./passing.ts";
import { envelopeReply, reply } from "./replies.ts";
import { ReplyQueue, type Taking } from "./reply-queue.ts";
import { isPositive } from "./upstream.ts";

const NOTHING = Buffer.alloc(0);
/** Replies that may be owed to a client before it must read some. */
const MAX_OWED = 200;

const noCommand = (): Refused => new Refused("idle", "no command in time");
const noContent = (): Refused => new Refused("idle", "no content in time");
const notRead = (): Refused => new Refused("idle", "replies are not read");

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

/** RFC 5321 4.2.3: a goodbye, a local error and a lack of room say nothing of a recipient. */
const OF_THE_SERVER: ReadonlySet<number> = new Set([421, 451, 452]);

type Next = "go on" | "left" | "again" | "over";
/** A promise only where something has to be waited for: most commands need nobody but the backend, and later. */
type Step = Next | Promise<Next>;

class MailRelay {
  readonly #session: Session;
  readonly #desk: Desk;
  readonly #said: Said | undefined;
  readonly #queue: ReplyQueue;
  readonly #backend: BackendLine;
  readonly #idleMs: number;
  readonly #maxSize: number;
  /** MAIL of the transaction that is open, as far as the client knows. */
  #mail: Envelope | undefined;
  /** Recipients that have gone to the backend in this transaction. */
  #recipients: string[] = [];
  /** Counts transactions: a reply that comes when the next one is open is not that one's. */
  #turn = 0;
  #chunks: { readonly checker: ChunkChecker; readonly gate: FromGate | undefined } | undefined;
  /** RFC 3030 2: behind a BDAT that failed, only RSET helps. */
  #spoiled = false;
  /** What the backend said to a MAIL that the client has long heard 250 for: each of its recipients hears it. */
  #mailRefusal: Reply | undefined;
  /** Why the session is to end as soon as nothing is under way. */
  #stopping: Refused | undefined;
  #listening = false;

  constructor(session: Session, upstream: UpstreamLine, desk: Desk, said: Said | undefined) {
    this.#session = session;
    this.#desk = desk;
    this.#said = said;
    this.#queue = new ReplyQueue(session.channel);
    this.#backend = new BackendLine(upstream, this.#queue);
    this.#idleMs = session.frontend.idleTimeoutMs;
    this.#maxSize = maxSize(session, [this.#backend.offers]);
    const begun = said?.current;
    if (begun?.mailTaken) this.#mail = begun.mail;
    else this.#mailRefusal = begun?.reply;
    if (begun?.reply && isPositive(begun.reply)) this.#recipients = [begun.recipient];
    else if (begun?.reply && begun.mailTaken) this.#recipientRefused(begun.reply);
  }

  async run(): Promise<string> {
    const { channel } = this.#session;
    channel.liftBudget();
    this.#stoppedBy((refused) => this.#stop(refused));
    const listening = this.#backend.listen(() => this.#await());
    try {
      const end = await this.#obeyAll();
      if (end === "left" || end === "again") await this.#partInOrder();
      if (end === "again") return "again";
      return end === "left" ? "client left" : "backend closed";
    } catch (error) {
      if (error instanceof ChannelClosed && !this.#backend.lost) await this.#letFinish();
      if (!(error instanceof Refused)) throw error;
      // The last words come in their turn: whoever waits for the backend's answers does not get these instead.
      await this.#allHeard();
      await this.#queue.say(reply(error.refusal, "command", this.#session.id, true));
      return error.refusal.kind;
    } finally {
      this.#backend.channel.destroy();
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
    if (channel.behind) channel.setDeadline(this.#idleMs, notRead);
    else if (stopping && !owed) channel.setDeadline(0, () => stopping);
    else channel.setDeadline(owed ? PATIENCE : this.#idleMs, noCommand);
  }

  async #obeyAll(): Promise<Exclude<Next, "go on">> {
    for (;;) {
      // RFC 2920 3.1: what a backend without PIPELINING has not been asked yet waits here.
      if (this.#queue.length > 0 && !this.#backend.offers.has("PIPELINING")) await this.#allHeard();
      if (this.#queue.failure instanceof Refused) throw this.#queue.failure;
      const command = takeCommand(this.#session);
      if (!command) {
        await this.#nextBytes();
        continue;
      }
      const step = "kind" in command ? this.#refuse(command) : this.#obey(command);
      const next = typeof step === "string" ? step : await step;
      if (next !== "go on") return next;
    }
  }

  /** Nothing more is to be done before the client says more: what it has said goes out. */
  async #nextBytes(): Promise<void> {
    this.#backend.flush();
    this.#await();
    this.#listening = true;
    await this.#session.channel.more();
    this.#listening = false;
  }

  #obey(command: Command): Step {
    if (this.#backend.lost && command.verb !== "QUIT") return this.#say(envelopeReply("backendGone"), "over");
    if (this.#queue.length >= MAX_OWED) return this.#allHeard().then(() => this.#obey(command));
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
        return this.#say("221 2.0.0 Until next time\r\n", "left");
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

  #beginMail({ rest }: Command): Step {
    const envelope = parseMail(rest);
    if (!envelope) return this.#refuse({ kind: "syntax", detail: "MAIL without a path" });
    if (this.#mail) return this.#refuse({ kind: "order", detail: "MAIL in a transaction" });
    if (envelope.address !== "" && !this.#maySend(() => [addressText(envelope) ?? ""], "MAIL FROM")) {
      return this.#refuseEnvelope("senderNotYours");
    }
    const refused = refuseMail(this.#session, envelope, [this.#backend.offers]);
    if (refused) return typeof refused === "string" ? this.#say(refused) : this.#refuse(refused);
    return this.#allowed(this.#desk.message(), () => {
      this.#endTransaction();
      this.#mail = envelope;
      const turn = this.#turn;
      return this.#forward(formatEnvelope("MAIL FROM", envelope), () => {
        if (turn === this.#turn) this.#mail = undefined;
      });
    });
  }

  #addRecipient({ rest }: Command): Step {
    const envelope = parseRcpt(rest);
    const recipient = envelope && addressText(envelope);
    if (recipient === undefined) return this.#refuse({ kind: "syntax", detail: "RCPT without a path" });
    if (!this.#backend.offers.takes(envelope as Envelope)) return this.#refuseEnvelope("parameterNotOffered");
    if (this.#chunks || this.#spoiled) return this.#refuse({ kind: "order", detail: "RCPT behind BDAT" });
    if (this.#mailRefusal) return this.#say(formatReply(this.#mailRefusal));
    if (this.#recipients.length >= this.#maxRecipients) return this.#refuseEnvelope("tooManyRecipients");
    if (this.#said) {
      const elsewhere = this.#elsewhere(recipient);
      if (typeof elsewhere === "object") {
        this.#desk.recipientRefused();
        return this.#refuse(elsewhere);
      }
      if (elsewhere) return this.#turnTo(this.#said, envelope as Envelope, recipient);
    }
    return this.#allowed(this.#askRecipient(recipient), () => {
      const recipients = this.#recipients;
      recipients.push(recipient);
      return this.#forward(formatEnvelope("RCPT TO", envelope as Envelope), (answer) => {
        this.#recipientRefused(answer);
        recipients.splice(recipients.lastIndexOf(recipient), 1);
      });
    });
  }

  #askRecipient(recipient: string): Promise<void> | undefined {
    // Without MAIL, the backend has the last word.
    const mail = this.#mail ?? { address: "", parameters: [] };
    return this.#desk.recipient(() => mailFacts(this.#session, mail, this.#recipients.length, recipient));
  }

  #askContent(): Promise<void> | undefined {
    const mail = this.#mail;
    const { length, 0: first } = this.#recipients;
    if (!mail || length === 0) return undefined;
    return this.#desk.content(() => mailFacts(this.#session, mail, length, length === 1 ? first : undefined));
  }

  /** Goes on when the policy has nothing against it. */
  #allowed(question: Promise<void> | undefined, then: () => Step): Step {
    if (!question) return then();
    this.#backend.flush();
    return question.then(then, (error: unknown) => {
      if (error instanceof Refused) return this.#refuse(error.refusal);
      throw error;
    });
  }

  /** Where LMTP would give several answers, each recipient gets a transaction of its own. */
  get #maxRecipients(): number {
    return this.#backend.isLmtp ? 1 : this.#session.frontend.content.maxRecipients;
  }

  #elsewhere(recipient: string): boolean | Refusal {
    try {
      return this.#desk.backendOf(recipient) !== this.#backend.name;
    } catch (error) {
      if (error instanceof Refused) return error.refusal;
      throw error;
    }
  }

  /** The first recipient of a transaction leads to another backend: the session begins again there. */
  async #turnTo(said: Said, rcpt: Envelope, recipient: string): Promise<Next> {
    // Only the replies say whether there is a transaction, and whether it has a recipient here.
    await this.#allHeard();
    if (this.#recipients.length > 0) return this.#refuseEnvelope("otherBackend");
    const mail = this.#mail;
    if (!mail) return this.#say(reply({ kind: "order", detail: "" }, "command", this.#session.id));
    said.mail = mail;
    const message = () => mailFacts(this.#session, mail, 0, recipient);
    said.next = { recipient, message, counted: true, mail, rcpt, reply: undefined, mailTaken: false };
    return "again";
  }

  #data({ rest }: Command): Step {
    if (rest !== "") return this.#refuse({ kind: "syntax", detail: "DATA with an argument" });
    if (this.#chunks || this.#spoiled) return this.#refuse({ kind: "order", detail: "DATA behind BDAT" });
    // RFC 5321 4.3.2: content waits for 354, and who does not wait may be hiding commands in it, or it in commands.
    if (this.#session.channel.pending > 0) throw new Refused("notOurProtocol", "content before 354");
    return this.#allowed(this.#askContent(), () => this.#openContent());
  }

  #openContent(): Step {
    const slot = this.#backend.say("DATA\r\n");
    this.#backend.flush();
    return slot.reply.then((answer) => {
      // The client has not heard it yet, so whatever is here has not waited for it either.
      if (answer && this.#session.channel.pending > 0)
        throw new Refused("notOurProtocol", "content before 354");
      return answer?.code === 354 ? this.#content() : "go on";
    });
  }

  async #content(): Promise<Next> {
    const { channel, frontend } = this.#session;
    const { bareNewlines } = frontend.content;
    channel.setDeadline(this.#idleMs, noContent);
    const rules = { bareNewlines, maxSize: this.#maxSize, gate: this.#gate() };
    const spoiled = await passData(channel, this.#backend, rules, () => this.#endOfData());
    this.#endTransaction();
    if (!spoiled) return "go on";
    await this.#refuseEnvelope(spoiled);
    // Another server's session never needed this backend in particular; a user's has signed in at it.
    return this.#said ? "again" : "go on";
  }

  #endOfData(): void {
    if (this.#backend.lost) void this.#queue.say(envelopeReply("unknownFate"));
    else this.#backend.owe(this.#watched);
  }

  /** The backend has a message whole; what it says of it now is what becomes of it. */
  readonly #watched: Taking = {
    heard: (answer) => this.#desk.delivered(answer && isPositive(answer)),
  };

  async #bdat({ rest }: Command): Promise<Next> {
    const { channel } = this.#session;
    const chunk = parseBdat(rest);
    // Without a count nobody knows where the next command begins.
    if (!chunk) throw new Refused("syntax", "BDAT whose end is not known");
    channel.setDeadline(this.#idleMs, noContent);
    const offered = this.#backend.offers.has("CHUNKING");
    if (!offered || this.#mail === undefined || this.#recipients.length === 0 || this.#spoiled) {
      await swallow(channel, this.#backend, chunk.size);
      this.#spoiled = this.#mail !== undefined;
      return this.#refuse({ kind: "order", detail: "BDAT out of order" });
    }
    const refused = this.#chunks ? undefined : await refusalOf(this.#askContent());
    if (refused) {
      await swallow(channel, this.#backend, chunk.size);
      this.#spoiled = true;
      return this.#refuse(refused);
    }
    this.#chunks ??= { checker: new ChunkChecker(), gate: this.#gate() };
    const { checker } = this.#chunks;
    if (checker.size + chunk.size > this.#maxSize) {
      await swallow(channel, this.#backend, chunk.size);
      return this.#spoil("messageTooBig");
    }
    // An empty last chunk brings no byte with which an open end would show.
    if (chunk.size === 0 && !checker.check(NOTHING, chunk.last)) return this.#spoil("bareNewline");
    this.#backend.write([Buffer.from(`BDAT ${chunk.size}${chunk.last ? " LAST" : ""}\r\n`)]);
    const fault = await passChunk(channel, this.#backend, chunk, this.#chunks);
    if (fault) return this.#spoil(fault);
    if (this.#backend.lost) return this.#say(envelopeReply("unknownFate"));
    const slot = this.#backend.owe(chunk.last ? this.#watched : undefined);
    if (chunk.last) this.#endTransaction();
    else if (!isPositive((await slot.reply) ?? { code: 451, lines: [] })) this.#spoiled = true;
    return "go on";
  }

  /** Judges the From of a message, where a user sends it and somebody wants to know. */
  #gate(): FromGate | undefined {
    const judged = !this.#said && this.#session.frontend.content.senders !== "off";
    return judged ? new FromGate((addresses) => this.#maySend(() => addresses, "From")) : undefined;
  }

  /** Whether the user may send as all of these; one that he may not is only told of where senders are observed. */
  #maySend(addresses: () => readonly string[], field: string): boolean {
    const { user = "", frontend } = this.#session;
    const { senders, maySendAs } = frontend.content;
    if (this.#said || senders === "off") return true;
    const foreign = addresses().find((address) => !maySendAs(user, address));
    if (foreign === undefined) return true;
    if (senders === "enforce") return false;
    this.#desk.observed("senders", { field, address: foreign });
    return true;
  }

  #spoil(kind: EnvelopeRefusal): Step {
    this.#backend.abandon();
    this.#spoiled = true;
    return this.#refuseEnvelope(kind);
  }

  #reset({ rest }: Command): Step {
    if (rest !== "") return this.#refuse({ kind: "syntax", detail: "RSET with an argument" });
    this.#endTransaction();
    return this.#forward("RSET\r\n");
  }

  /** RFC 5321 4.1.4: EHLO is RSET too, and that is what the backend hears of it. */
  #hello({ verb, rest }: Command): Step {
    if (parseHelloName(rest) === undefined)
      return this.#refuse({ kind: "syntax", detail: "HELO without a name" });
    this.#endTransaction();
    const lines =
      verb === "HELO"
        ? [this.#session.frontend.hostname]
        : ehloLines(this.#session, [this.#backend.offers], { auth: false, startTls: false });
    this.#backend.say("RSET\r\n", {
      instead: (answer) => formatReply(isPositive(answer) ? { code: 250, lines } : answer),
    });
    return "go on";
  }

  #endTransaction(): void {
    this.#turn += 1;
    this.#mail = undefined;
    this.#mailRefusal = undefined;
    this.#recipients = [];
    this.#chunks = undefined;
    this.#spoiled = false;
  }

  /**
   * Passes a command on; `refused` hears the backend's no, and takes back what it did to the transaction, where that is
   * still open.
   */
  #forward(command: string, refused?: (answer: Reply) => void): Next {
    const heard = (answer: Reply | undefined): void => {
      if (answer && !isPositive(answer)) refused?.(answer);
    };
    this.#backend.say(command, refused && { heard });
    return "go on";
  }

  #recipientRefused({ code }: Reply): void {
    if (!OF_THE_SERVER.has(code)) this.#desk.recipientRefused();
  }

  #say(text: string, next: Next = "go on"): Step {
    return this.#queue.say(text)?.then(() => next) ?? next;
  }

  #refuse(refusal: Refusal): Step {
    this.#desk.refused(refusal.kind, refusal.detail);
    const said = this.#say(reply(refusal, "command", this.#session.id));
    if (COUNTED.has(refusal.kind)) this.#session.countError();
    return said;
  }

  #refuseEnvelope(kind: EnvelopeRefusal): Step {
    this.#desk.refused(kind, "mail on its way");
    return this.#say(envelopeReply(kind));
  }

  async #allHeard(): Promise<void> {
    this.#backend.flush();
    await this.#queue.drained();
  }

  /** The client has left, or turns to another backend: nothing is open there any more but the session. */
  async #partInOrder(): Promise<void> {
    await this.#allHeard();
    this.#backend.write([Buffer.from("QUIT\r\n")]);
  }

  /** The client is gone; what the backend has whole, it may finish. */
  async #letFinish(): Promise<void> {
    await this.#allHeard().catch(() => {});
  }
}

async function refusalOf(question: Promise<void> | undefined): Promise<Refusal | undefined> {
  try {
    await question;
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return error.refusal;
    throw error;
  }
}
