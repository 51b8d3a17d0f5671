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
  readonly then: "leave" | "hold" | "download" | "upload";
  /** Bytes of each session's download or upload. */
  readonly bytes: number;
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
  await talk.line("* OK");
  if (socket.isSessionReused()) resumed += 1;
  await talk.ask(`a LOGIN ${job.users[index % job.users.length]} ${job.password}\r\n`, "a OK");
  if (job.then === "hold") return;
  if (job.then === "download") await talk.ask(`b FETCH ${job.bytes}\r\n`, "b OK");
  if (job.then === "upload") await upload(socket, talk, job.bytes);
  await leave(socket);
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
