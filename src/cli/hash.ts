import type { Readable } from "node:stream";
import { chosenWork } from "../auth/password/scheme.ts";
import { findScheme, MAX_PASSWORD_BYTES, parseStored, SCHEMES } from "../auth/password/stored-password.ts";
import { decodeUtf8, hasControl } from "../wire/text.ts";

export interface HashOptions {
  /** A scheme's name; default ARGON2ID. */
  readonly scheme?: string;
  /** How much work; what it counts depends on the scheme. */
  readonly rounds?: number;
  /** A stored password to check against, instead of making one. */
  readonly verify?: string;
}

/** The terminal, or what stands for it in a pipe. */
export interface HashIo {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

const OK = 0;
const WRONG = 1;
const USAGE = 2;
/** What a shell reports for SIGINT. */
const INTERRUPTED = 130;
const MAX_LINE_BYTES = 64 * 1024;

/**
 * `postern hash`: asks for a password and prints what belongs into a users file, or checks one. Resolves to
 * the exit code: 0 done or right, 1 wrong password, 2 not possible, 130 interrupted.
 */
export async function hash(options: HashOptions, io: HashIo): Promise<number> {
  try {
    return options.verify === undefined ? await make(options, io) : await verify(options.verify, io);
  } catch (error) {
    if (error instanceof Interrupted) return INTERRUPTED;
    if (!(error instanceof RangeError)) throw error;
    io.stderr.write(`postern hash: ${error.message}\n`);
    return USAGE;
  }
}

async function make({ scheme: name = "ARGON2ID", rounds }: HashOptions, io: HashIo): Promise<number> {
  const scheme = findScheme(name);
  if (!scheme)
    throw new RangeError(`no scheme ${name}; there are ${SCHEMES.map((one) => one.name).join(", ")}`);
  if (rounds !== undefined && !scheme.work) throw new RangeError(`${scheme.name} has no rounds`);
  // Before the password is asked for, not after.
  if (scheme.work) chosenWork(scheme.work, rounds);
  const password = await newPassword(io);
  io.stdout.write(`{${scheme.name}}${scheme.make(password, rounds)}\n`);
  return OK;
}

async function verify(stored: string, io: HashIo): Promise<number> {
  const parsed = parseStored(stored);
  if ("problem" in parsed) throw new RangeError(parsed.problem);
  const right = parsed.matches(await withPrompter(io, (ask) => ask("Password: ")));
  io.stderr.write(right ? "The password is right.\n" : "The password is wrong.\n");
  return right ? OK : WRONG;
}

async function newPassword(io: HashIo): Promise<string> {
  const password = await withPrompter(io, async (ask, twice) => {
    const first = await ask("New password: ");
    if (first !== "" && twice && (await ask("Once more: ")) !== first) {
      throw new RangeError("the two passwords are not the same");
    }
    return first;
  });
  if (password === "") throw new RangeError("an empty password is no password");
  // Neither would ever be let in.
  if (hasControl(password)) throw new RangeError("the password holds a control character");
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) {
    throw new RangeError(`the password is longer than ${MAX_PASSWORD_BYTES} bytes`);
  }
  return password;
}

/** Ctrl-C at the prompt. */
class Interrupted extends Error {
  override readonly name = "Interrupted";
}

type Ask = (prompt: string) => Promise<string>;

/** Lends a way to ask: without echo on a terminal, else the first line of what comes by the pipe. */
async function withPrompter<T>(io: HashIo, use: (ask: Ask, twice: boolean) => Promise<T>): Promise<T> {
  const { stdin, stderr } = io;
  if (!stdin.isTTY) return use(() => firstLine(stdin), false);
  stdin.setRawMode?.(true);
  const keys = new Keys(stdin);
  try {
    return await use((prompt) => askSecretly(keys, prompt, stderr), true);
  } finally {
    keys.stop();
    stdin.setRawMode?.(false);
  }
}

async function askSecretly(keys: Keys, prompt: string, stderr: HashIo["stderr"]): Promise<string> {
  stderr.write(prompt);
  try {
    return await readSecret(keys);
  } finally {
    stderr.write("\n");
  }
}

/** One line typed in raw mode, where the editing keys are ours to serve. */
async function readSecret(keys: Keys): Promise<string> {
  const typed: string[] = [];
  for (;;) {
    const key = await keys.next();
    if (key === "\r" || key === "\n") return typed.join("");
    if (key === "\u0003") throw new Interrupted();
    if (key === undefined || (key === "\u0004" && typed.length === 0))
      throw new RangeError("no password was given");
    if (key === "\u007f" || key === "\b") typed.pop();
    else if (key === "\u0015") typed.length = 0;
    else if (key >= " ") typed.push(key);
  }
}

/** Characters as they are typed; what was typed ahead, or pasted, waits for the next question. */
class Keys {
  readonly #stdin: Readable;
  readonly #typed: string[] = [];
  readonly #decoder = new TextDecoder();
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(stdin: Readable) {
    this.#stdin = stdin;
    stdin.on("data", this.#take);
    stdin.on("end", this.#end);
    stdin.on("error", this.#end);
  }

  /** The next character, or undefined after the last. */
  async next(): Promise<string | undefined> {
    while (this.#typed.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#typed.shift();
  }

  stop(): void {
    this.#stdin.off("data", this.#take).off("end", this.#end).off("error", this.#end);
    this.#stdin.pause();
  }

  #take = (chunk: Buffer): void => {
    this.#typed.push(...this.#decoder.decode(chunk, { stream: true }));
    this.#wake?.();
  };

  #end = (): void => {
    this.#ended = true;
    this.#wake?.();
  };
}

async function firstLine(stdin: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stdin) {
    const bytes = Buffer.from(chunk);
    const end = bytes.indexOf("\n");
    chunks.push(end < 0 ? bytes : bytes.subarray(0, end));
    size += bytes.length;
    if (end >= 0) break;
    if (size > MAX_LINE_BYTES) throw new RangeError("the line is too long for a password");
  }
  const text = decodeUtf8(Buffer.concat(chunks));
  if (text === undefined) throw new RangeError("the password is not UTF-8 text");
  return text.replace(/\r$/, "");
}
