import { createHash, randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import type { Problem } from "../config/problem.ts";
import { FileWatch, type FileWatchOptions } from "../io/file-watch.ts";
import { Refused } from "../refusal.ts";
import type { Credential } from "../sasl/credential.ts";
import { Networks } from "../wire/networks.ts";
import { decodeUtf8 } from "../wire/text.ts";
import { passwordItself, provenByDigest } from "./apop.ts";
import { type Choice, pickFor } from "./decoy.ts";
import type { Identity } from "./identity.ts";
import { canonicalName } from "./name.ts";
import type { HashWorkers } from "./password/hash-workers.ts";
import { decoyPassword, type StoredPassword } from "./password/stored-password.ts";
import { ProvenPasswords } from "./proven-passwords.ts";
import { readUsers } from "./read-users.ts";
import type { Peer, Source, SourceAnswer } from "./source.ts";
import type { User, UsersFile } from "./users-file.ts";

export interface FileSourceOptions {
  readonly path: string;
  readonly workers: Pick<HashWorkers, "verify">;
  /** Saves the hash for a password that was right lately; default: every login is hashed. */
  readonly proven?: ProvenPasswords;
  /**
   * Chooses which users the unknown ones are timed like. Processes and replicas that serve one address should
   * share it, or a name that is sometimes slow is unknown. Default: random.
   */
  readonly secret?: Uint8Array;
  /** Names that `backend` may have; default: any. */
  readonly backends?: readonly string[];
  /** How the text becomes users; default: the format of users.example.yaml. */
  readonly parse?: (text: string, file: string) => UsersFile | Promise<UsersFile>;
}

/** What a watched file has to say. Neither may throw. */
export interface FileSourceEvents {
  /** A new file is in force and has so many users. */
  onReload(count: number): void;
  /** The file is broken and the old users stay; called once for each state of the file. */
  onProblem(problems: readonly Problem[]): void;
}

export type LoadedSource =
  | { readonly ok: true; readonly source: FileSource }
  | { readonly ok: false; readonly problems: readonly Problem[] };

type Reading = { readonly users: Users; readonly digest: string } | Failure;
type Failure = { readonly problems: readonly Problem[]; readonly digest: string };

/** Some two hundred thousand users, which take ten seconds and 2 GB to read; more belong into a database. */
const MAX_BYTES = 32 * 1024 * 1024;

/** Users from a file, swapped whole when the file changes. */
export class FileSource implements Source, AsyncDisposable {
  readonly name: string;
  readonly #options: FileSourceOptions;
  readonly #proven: ProvenPasswords;
  readonly #secret: Uint8Array;
  #users: Users;
  /** Of the text last looked at, in force or broken. */
  #digest: string;
  #events: FileSourceEvents | undefined;
  #watch: FileWatch | undefined;
  #refreshing: Promise<void> = Promise.resolve();

  private constructor(options: FileSourceOptions, users: Users, digest: string) {
    this.name = `file ${options.path}`;
    this.#options = options;
    this.#proven = options.proven ?? new ProvenPasswords({ ttlMs: 0 });
    this.#secret = options.secret ?? randomBytes(32);
    this.#users = users;
    this.#digest = digest;
  }

  /** Reads the file; whatever is wrong with it comes back as problems, all at once. */
  static async load(options: FileSourceOptions): Promise<LoadedSource> {
    const reading = await read(options);
    if ("problems" in reading) return { ok: false, problems: reading.problems };
    return { ok: true, source: new FileSource(options, reading.users, reading.digest) };
  }

  get size(): number {
    return this.#users.size;
  }

  /** Follows the file from now on, until `close`. */
  watch(events: FileSourceEvents, options?: FileWatchOptions): void {
    this.#events = events;
    this.#watch?.close();
    this.#watch = new FileWatch(this.#options.path, () => void this.refresh(), options);
  }

  /** Looks at the file now and swaps the users if its text has changed. Never rejects. */
  refresh(): Promise<void> {
    // A listener that throws all the same must not end the following of the file.
    this.#refreshing = this.#refreshing.then(() => this.#refresh()).catch(() => {});
    return this.#refreshing;
  }

  /** Stops following the file and waits for a refresh under way. */
  async close(): Promise<void> {
    this.#watch?.close();
    this.#events = undefined;
    await this.#refreshing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** As `Source` has it: a user who is stored as {PLAIN}, so that we know the password. */
  get verifiesApop(): boolean {
    return this.#users.somePlain;
  }

  /** As `Source` has it. */
  async authenticate(credential: Credential, peer: Peer, signal?: AbortSignal): Promise<SourceAnswer> {
    const account = this.#users.find(credential.authcid);
    if (!account) return { known: false };
    const { user } = account;
    if ("certified" in credential) {
      checkEntry(account, peer);
      return { known: true, identity: identityOf(user) };
    }
    if (credential.password === undefined) {
      const password = provenByDigest(credential.digest, user.password);
      if (password === undefined) throw new Refused("badCredential", `wrong digest (${this.name})`);
      checkEntry(account, peer);
      return { known: true, identity: { ...identityOf(user), password } };
    }
    await this.#check(user, credential.password, signal);
    checkEntry(account, peer);
    return { known: true, identity: identityOf(user) };
  }

  async #check(user: User, password: string, signal: AbortSignal | undefined): Promise<void> {
    const subject = [user.name, user.password.stored];
    if (this.#proven.has(subject, password)) return;
    const right = await this.#options.workers.verify(password, user.password, signal);
    if (!right) throw new Refused("badCredential", `wrong password (${this.name})`);
    this.#proven.add(subject, password);
  }

  /** As `Source` has it: checks against somebody else's stored password, and forgets the result. */
  async pretend(credential: Credential, signal?: AbortSignal): Promise<void> {
    // Nobody without the certificate comes here, and there is no password to take time over.
    if ("certified" in credential) return;
    const name = canonicalName(credential.authcid);
    const decoy = this.#users.decoyFor(this.#secret, name);
    if (credential.password === undefined) {
      provenByDigest(credential.digest, decoy);
      return;
    }
    const { password } = credential;
    // Asked for the same time that it takes, and never added to: the name makes it a subject of its own.
    this.#proven.has([name, decoy.stored], password);
    await this.#options.workers.verify(password, decoy, signal);
  }

  async #refresh(): Promise<void> {
    const before = this.#digest;
    const reading = await read(this.#options, { digest: before, hadUsers: this.size > 0 });
    if (!reading) return;
    this.#digest = reading.digest;
    if ("problems" in reading) return this.#events?.onProblem(reading.problems);
    this.#users = reading.users;
    this.#events?.onReload(this.size);
  }
}

/** A user as the source asks for him. */
interface Account {
  readonly user: User;
  readonly networks?: Networks;
}

/** One state of the file, never changed. */
class Users {
  readonly #accounts = new Map<string, Account>();
  readonly #decoys: readonly Choice<StoredPassword>[];
  readonly #decoyOfNobody = decoyPassword();
  /** Whether any user's password itself is known. */
  readonly somePlain: boolean;

  constructor(users: readonly User[]) {
    const costs = new Map<string, { count: number; value: StoredPassword }>();
    for (const user of users) {
      const networks = user.networks && { networks: new Networks(user.networks) };
      this.#accounts.set(canonicalName(user.name), { user, ...networks });
      const alike = costs.get(user.password.cost);
      if (alike) alike.count += 1;
      else costs.set(user.password.cost, { count: 1, value: user.password });
    }
    this.somePlain = users.some(({ password }) => passwordItself(password) !== undefined);
    this.#decoys = [...costs].map(([key, { count, value }]) => ({ key, weight: count, value }));
  }

  get size(): number {
    return this.#accounts.size;
  }

  find(name: string): Account | undefined {
    return this.#accounts.get(canonicalName(name));
  }

  /** A stored password as dear to check as a known user's: each cost as likely as it is among the users. */
  decoyFor(secret: Uint8Array, name: string): StoredPassword {
    return pickFor(secret, name, this.#decoys) ?? this.#decoyOfNobody;
  }
}

/** Only asked after the right password: nobody else learns how an account stands. */
function checkEntry({ user, networks }: Account, { address, claimed, protocol }: Peer): void {
  if (user.disabled) throw new Refused("notAllowed", "the account is disabled");
  if (user.protocols && !user.protocols.includes(protocol)) {
    throw new Refused("notAllowed", "the account may not use this protocol");
  }
  if (networks && !networks.vouchFor(address, claimed)) {
    throw new Refused("notAllowed", "the account may not sign in from this network");
  }
}

function identityOf({ name, backend, login }: User): Identity {
  return { user: name, ...(backend !== undefined && { backend }), ...(login !== undefined && { login }) };
}

interface Known {
  readonly digest: string;
  readonly hadUsers: boolean;
}

async function read(options: FileSourceOptions): Promise<Reading>;
async function read(options: FileSourceOptions, known: Known): Promise<Reading | undefined>;
/** The users in the file, or why there are none; undefined when nothing changed since what is known. */
async function read(options: FileSourceOptions, known?: Known): Promise<Reading | undefined> {
  try {
    const bytes = await readRegularFile(options.path);
    const digest = createHash("sha256").update(bytes).digest("base64");
    return digest === known?.digest ? undefined : await readBytes(options, bytes, digest, known);
  } catch (error) {
    const reason = reasonOf(error);
    // A reason takes the digest's place: the same trouble is told once.
    return reason === known?.digest ? undefined : failure(options, reason, `cannot be read: ${reason}`);
  }
}

async function readBytes(
  options: FileSourceOptions,
  bytes: Buffer,
  digest: string,
  known: Known | undefined,
): Promise<Reading> {
  const text = decodeUtf8(bytes);
  if (text === undefined) return failure(options, digest, "is not UTF-8 text");
  if (known?.hadUsers && text.trim() === "") {
    // Far more often a file caught half-written than a wish to lock everybody out.
    return failure(options, digest, "is empty, so the users of before stay (to have none, write {})");
  }
  const { path, backends, parse } = options;
  const { users, problems } = await (parse ? parse(text, path) : readUsers(text, path, backends));
  return problems.length > 0 ? { digest, problems } : { digest, users: new Users(users) };
}

function failure({ path }: FileSourceOptions, digest: string, message: string): Failure {
  return { digest, problems: [{ file: path, line: 1, column: 1, key: "", message }] };
}

/** Off the event loop, unlike the configuration: the disk may be slow while sessions run. */
async function readRegularFile(path: string): Promise<Buffer> {
  const facts = await stat(path);
  // A pipe would hold one of libuv's threads for ever.
  if (!facts.isFile()) throw new RangeError("it is not a regular file");
  if (facts.size > MAX_BYTES) throw new RangeError(`it is larger than ${MAX_BYTES} bytes`);
  return readFile(path);
}

function reasonOf(error: unknown): string {
  if (error instanceof RangeError) return error.message;
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
