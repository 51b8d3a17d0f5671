import { connect, type TLSSocket } from "node:tls";

/**
 * The clients of one measurement, all in this process. Does what its one argument, a ClientJob in JSON, says,
 * prints "done" and ends; with `hold` it keeps its sessions open until it is stopped.
 */
export interface ClientJob {
  readonly port: number;
  readonly sessions: number;
  /** How many sign in at the same time. */
  readonly concurrency: number;
  readonly users: readonly string[];
  readonly password: string;
  /** Resumes the TLS session of an earlier one, where there is one. */
  readonly resume: boolean;
  /** What each session does once it is in. */
  readonly then: "leave" | "hold" | "download" | "upload" | "send";
  /** Bytes of each session's download, upload or message. */
  readonly bytes: number;
  /** How many messages each session sends. */
  readonly messages: number;
}

/** One protocol, suite and group for all gateways, whatever their defaults are. */
const TLS = {
  servername: "localhost",
  minVersion: "TLSv1.3",
  ciphers: "TLS_AES_256_GCM_SHA384",
  ecdhCurve: "X25519",
} as const;
/** The last TLS session that can be resumed; more than once, as not every server gives a new ticket for an old one. */
let ticket: Buffer | undefined;
let resumed = 0;
const BLOCK = Buffer.alloc(64 * 1024, "y");

/** Waits for lines; what is not asked for as a line is counted and forgotten. */
class Conversation {
  readonly #socket: TLSSocket;
  #tail = "";
  #awaited = "";
  #found: (() => void) | undefined;
  #failed: ((error: Error) => void) | undefined;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => this.#failed?.(error));
    socket.on("close", () => this.#failed?.(new Error(`closed while waiting for "${this.#awaited}"`)));
  }

  /** The moment that a line has come which begins with `text` and is shorter than 4 KiB. */
  line(text: string): Promise<void> {
    this.#awaited = text;
    return new Promise((resolve, reject) => {
      this.#found = resolve;
      this.#failed = reject;
    });
  }

  ask(command: string, answer: string): Promise<void> {
    const answered = this.line(answer);
    this.#socket.write(command);
    return answered;
  }

  #take(chunk: Buffer): void {
    // Only the end of a long download is looked at: the reply comes last.
    this.#tail = (this.#tail + chunk.subarray(-4096).toString("latin1")).slice(-4096);
    if (!this.#tail.endsWith("\r\n")) return;
    const at = this.#tail.lastIndexOf(this.#awaited);
    if (at === -1 || !this.#found) return;
    this.#tail = "";
    this.#found();
  }
}

async function session(job: ClientJob, index: number): Promise<void> {
  const socket = connect({
    host: "127.0.0.1",
    port: job.port,
    rejectUnauthorized: false,
    ...TLS,
    ...(job.resume && ticket && { session: ticket }),
  });
  socket.setNoDelay();
  if (job.resume)
    socket.on("session", (fresh) => {
      ticket = fresh;
    });
  const talk = new Conversation(socket);
  const user = job.users[index % job.users.length] ?? "";
  if (job.then === "send") await submit(socket, talk, user, job);
  else await visit(socket, talk, user, job);
  if (job.then !== "hold") await leave(socket);
}

async function submit(socket: TLSSocket, talk: Conversation, user: string, job: ClientJob): Promise<void> {
  const line = `${"z".repeat(70)}\r\n`;
  const content = Buffer.from(
    `From: <${user}>\r\n\r\n${line.repeat(Math.ceil(job.bytes / line.length))}.\r\n`,
  );
  await talk.line("220 ");
  await talk.ask("EHLO client.test\r\n", "250 ");
  await talk.ask(`AUTH PLAIN ${Buffer.from(`\0${user}\0${job.password}`).toString("base64")}\r\n`, "235 ");
  for (let sent = 0; sent < job.messages; sent += 1) {
    await talk.ask(`MAIL FROM:<${user}>\r\nRCPT TO:<x@bench.test>\r\nDATA\r\n`, "354 ");
    const answered = talk.line("250 ");
    for (let at = 0; at < content.length; at += BLOCK.length) {
      if (socket.write(content.subarray(at, at + BLOCK.length))) continue;
      await new Promise((resolve) => socket.once("drain", resolve));
    }
    await answered;
  }
  await talk.ask("QUIT\r\n", "221 ");
}

async function visit(socket: TLSSocket, talk: Conversation, user: string, job: ClientJob): Promise<void> {
  await talk.line("* OK");
  if (socket.isSessionReused()) resumed += 1;
  await talk.ask(`a LOGIN ${user} ${job.password}\r\n`, "a OK");
  if (job.then === "download") await talk.ask(`b FETCH ${job.bytes}\r\n`, "b OK");
  if (job.then === "upload") await upload(socket, talk, job.bytes);
}

async function upload(socket: TLSSocket, talk: Conversation, bytes: number): Promise<void> {
  const answered = talk.ask(`c APPEND ${bytes}\r\n`, "c OK");
  for (let left = bytes; left > 0; left -= BLOCK.length) {
    const took = socket.write(BLOCK.subarray(0, Math.min(left, BLOCK.length)));
    if (!took) await new Promise((resolve) => socket.once("drain", resolve));
  }
  await answered;
}

function leave(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
    socket.end();
  });
}

async function run(job: ClientJob): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < job.sessions) await session(job, next++);
  };
  await Promise.all(Array.from({ length: job.concurrency }, worker));
}

const job = JSON.parse(process.argv[2] ?? "") as ClientJob;
await run(job);
if (job.resume && resumed < 0.9 * job.sessions) throw new Error(`only ${resumed} sessions were resumed`);
console.log("done");
