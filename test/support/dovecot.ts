import { chown, mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { Certificate } from "./certificates.ts";
import { freePorts } from "./ports.ts";
import { type RunningProcess, runProcess, startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";
import { eventually } from "./waiting.ts";

/**
 * Dovecot takes a connection whose two addresses are equal for a safe one and allows passwords in clear text on it.
 * Here the far end is 127.0.0.2 and the kernel gives the near end 127.0.0.1.
 */
const HOST = "127.0.0.2";

export interface DovecotOptions {
  /** Names and passwords. */
  readonly users: Readonly<Record<string, string>>;
  /** How clients come in: `none` speaks clear text only, `starttls` wants STARTTLS first, `implicit` starts with TLS. */
  readonly tls: "none" | "starttls" | "implicit";
  /** Wanted unless tls is `none`. */
  readonly certificate?: Certificate;
  /** A master user: signs in as USER*MASTER with this password. */
  readonly master?: { readonly user: string; readonly password: string };
  /** Speaks ManageSieve too. */
  readonly sieve?: boolean;
  /** Speaks POP3 too. */
  readonly pop3?: boolean;
  /** Further lines of dovecot.conf. */
  readonly settings?: string;
  /** How failures name it. */
  readonly name?: string;
}

/** A private Dovecot with its mail in a temporary folder. */
export interface Dovecot extends AsyncDisposable {
  readonly host: string;
  readonly tls: DovecotOptions["tls"];
  /** Where `tls` says that clients come in. */
  readonly port: number;
  /** The port that starts in clear text, and the one that starts with TLS (0 where tls is `none`). */
  readonly ports: { readonly plain: number; readonly implicit: number };
  /** The same of ManageSieve, where it is spoken. */
  readonly sievePorts: { readonly plain: number; readonly implicit: number };
  /** The same for POP3, where it speaks that. */
  readonly pop3Ports: { readonly plain: number; readonly implicit: number };
  readonly pid: number;
  /** Puts a message into a user's mailbox, byte for byte, whether the server runs or not. */
  deliver(user: string, message: string | Uint8Array, mailbox?: string): Promise<void>;
  /** The messages that lie in a user's mailbox, as they are stored. */
  messages(user: string, mailbox?: string): Promise<Buffer[]>;
  /** What the server has logged so far. */
  log(): string;
  /** The users whose sign-in the log records, in order, one entry a session. */
  logins(): string[];
  /** Waits until the log matches. */
  logged(pattern: RegExp, timeoutMs?: number): Promise<RegExpMatchArray>;
  /** The users of the sessions that are open now, one entry a session. */
  sessions(): Promise<string[]>;
  /** Where the sessions that are open now come from, as the server takes it. */
  addresses(): Promise<string[]>;
  /** The processes that serve the sessions that are open now. */
  sessionProcesses(): Promise<number[]>;
  signal(signal: NodeJS.Signals): void;
  /** The whole server at once, without a goodbye. */
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** Starts it again, on the same ports and mail. */
  restart(): Promise<void>;
}

export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const folder = await temporaryFolder();
  const [plain = 0, implicit = 0] = await freePorts(2);
  const [sievePlain = 0, sieveImplicit = 0] = options.sieve ? await freePorts(2) : [];
  const [pop3Plain = 0, pop3Implicit = 0] = options.pop3 ? await freePorts(2) : [];
  const pop3Ports = { plain: pop3Plain, implicit: options.tls === "none" ? 0 : pop3Implicit };
  const sievePorts = { plain: sievePlain, implicit: options.tls === "none" ? 0 : sieveImplicit };
  const owner = await mailOwner();
  const name = options.name ?? "dovecot";
  const mailboxOf = (user: string, mailbox: string) =>
    mailbox === "INBOX"
      ? folder.at("mail", user)
      : folder.at("mail", user, `.${mailbox.replaceAll("/", ".")}`);

  await makeOwned(folder.at("mail"), owner);
  await folder.write("users", passwordFile(options.users));
  if (options.master)
    await folder.write("masters", passwordFile({ [options.master.user]: options.master.password }));
  if (options.tls !== "none") {
    if (!options.certificate) throw new Error(`dovecot with tls ${options.tls} needs a certificate`);
    await folder.write("cert.pem", options.certificate.cert);
    await folder.write("key.pem", options.certificate.key);
  }
  const config = await folder.write(
    "dovecot.conf",
    configuration(options, folder.path, owner, { plain, implicit }) +
      sieveConfiguration(options, sievePorts) +
      pop3Configuration(options, pop3Ports),
  );

  let server: RunningProcess;
  let past = "";
  const log = () => past + server.output();
  const start = async () => {
    server = await startProcess("dovecot", ["-F", "-c", config], { name });
    await server.waitFor(/starting up/);
  };
  const stop = async () => {
    await server.stop();
  };
  const kill = async () => {
    if (server.running) await killTree(server.pid);
    await server.exited;
  };
  const who = async () => {
    const listed = await runProcess("doveadm", ["-c", config, "-f", "tab", "who", "-1"]);
    if (listed.code !== 0) throw new Error(`doveadm who: ${listed.stderr}`);
    const [head = "", ...lines] = listed.stdout.split("\n").filter(Boolean);
    const [user, pid, ip] = ["username", "pid", "ip"].map((column) => head.split("\t").indexOf(column));
    return lines.map((line) => {
      const columns = line.split("\t");
      return {
        user: columns[user ?? -1] ?? "",
        pid: Number(columns[pid ?? -1]),
        address: (columns[ip ?? -1] ?? "").replace(/[()]/g, ""),
      };
    });
  };
  await start();

  return {
    host: HOST,
    tls: options.tls,
    port: options.tls === "implicit" ? implicit : plain,
    ports: { plain, implicit: options.tls === "none" ? 0 : implicit },
    sievePorts,
    pop3Ports,
    get pid() {
      return server.pid;
    },
    async deliver(user, message, mailbox = "INBOX") {
      const maildir = mailboxOf(user, mailbox);
      for (const each of [mailboxOf(user, "INBOX"), maildir]) await makeOwned(each, owner);
      for (const part of ["cur", "new", "tmp"]) await makeOwned(join(maildir, part), owner);
      const file = `${Date.now()}.${process.pid}_${deliveries++}.${hostname()}`;
      await writeFile(join(maildir, "tmp", file), message);
      await chown(join(maildir, "tmp", file), owner.uid, owner.gid);
      await rename(join(maildir, "tmp", file), join(maildir, "new", file));
    },
    async messages(user, mailbox = "INBOX") {
      const folders = ["cur", "new"].map((part) => join(mailboxOf(user, mailbox), part));
      const files = await Promise.all(
        folders.map(async (part) => (await readdir(part)).sort().map((file) => join(part, file))),
      );
      return Promise.all(files.flat().map((file) => readFile(file)));
    },
    log,
    logins() {
      return Array.from(
        log().matchAll(/\b[a-z0-9]+-login: Info: Login: user=<([^>]*)>/g),
        (match) => match[1] ?? "",
      );
    },
    logged: (pattern, timeoutMs) =>
      eventually(
        () => `${pattern} in the log of ${name}:\n${log()}`,
        () => log().match(pattern) ?? undefined,
        timeoutMs === undefined ? {} : { timeoutMs },
      ),
    sessions: async () => (await who()).map(({ user }) => user),
    addresses: async () => (await who()).map(({ address }) => address),
    sessionProcesses: async () => (await who()).map(({ pid }) => pid),
    signal(signal) {
      server.signal(signal);
    },
    kill,
    stop,
    async restart() {
      await stop();
      past = log();
      await start();
    },
    async [Symbol.asyncDispose]() {
      // An orderly stop takes Dovecot a second, and nothing of this one is kept.
      await kill();
      await folder.remove();
    },
  };
}

let deliveries = 0;

/** Dovecot's processes share no group that we could kill at once: its children, then itself. */
async function killTree(pid: number): Promise<void> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  // The master first, so that it starts no new ones.
  for (const each of [pid, ...children.trim().split(" ").filter(Boolean).map(Number)]) {
    try {
      process.kill(each, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly group: string;
  readonly root: boolean;
}

/** Dovecot touches no mail as root; as root it gets an account that owns nothing else. */
async function mailOwner(): Promise<Owner> {
  const root = userInfo().uid === 0;
  const [uid, gid, group] = await Promise.all(
    ["-u", "-g", "-gn"].map((flag) => id(flag, root ? "nobody" : userInfo().username)),
  );
  return { uid: Number(uid), gid: Number(gid), group: group ?? "", root };
}

async function id(...args: string[]): Promise<string> {
  return (await runProcess("id", args)).stdout.trim();
}

async function makeOwned(path: string, owner: Owner): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 });
  if (owner.root) await chown(path, owner.uid, owner.gid);
}

function passwordFile(users: Readonly<Record<string, string>>): string {
  return Object.entries(users)
    .map(([name, password]) => `${name}:{PLAIN}${password}\n`)
    .join("");
}

function configuration(
  options: DovecotOptions,
  folder: string,
  owner: Owner,
  ports: { plain: number; implicit: number },
): string {
  const encrypted = options.tls !== "none";
  return `
protocols = imap
base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = /dev/stderr
listen = ${HOST}
instance_name = ${folder}
mail_location = maildir:${folder}/mail/%u
mail_uid = ${owner.uid}
mail_gid = ${owner.gid}
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 0
mail_fsync = never
# What clients append is stored as it came, so that a test can compare it byte for byte.
mail_save_crlf = yes

auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
disable_plaintext_auth = ${encrypted ? "yes" : "no"}
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u ${folder}/users
}
${
  options.master
    ? `auth_master_user_separator = *
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u ${folder}/masters
  master = yes
  result_success = continue
}`
    : ""
}
userdb {
  driver = static
  args = uid=${owner.uid} gid=${owner.gid} home=${folder}/mail/%u
}

ssl = ${encrypted ? "required" : "no"}
${encrypted ? `ssl_cert = <${folder}/cert.pem\nssl_key = <${folder}/key.pem` : ""}

service imap-login {
  service_count = 0
  process_min_avail = 1
  inet_listener imap {
    port = ${ports.plain}
  }
  inet_listener imaps {
    port = ${encrypted ? ports.implicit : 0}
    ssl = yes
  }
}
service imap {
  service_count = 200
  process_limit = 2048
}
service auth {
  client_limit = 4096
}
service anvil {
  # Without it, wrong passwords from one address are answered ever more slowly.
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
${owner.root ? "" : withoutRoot(owner)}
${options.settings ?? ""}
`;
}

/** ManageSieve beside what `configuration` says; scripts lie in the user's home. */
function sieveConfiguration(options: DovecotOptions, ports: { plain: number; implicit: number }): string {
  if (!options.sieve) return "";
  return `
protocols = $protocols sieve
service managesieve-login {
  ${userInfo().uid === 0 ? "" : "chroot ="}
  inet_listener sieve {
    port = ${ports.plain}
  }
  inet_listener sieves {
    port = ${ports.implicit}
    ssl = yes
  }
}
plugin {
  sieve = file:~/sieve;active=~/active.sieve
}
`;
}

/** POP3 beside what `configuration` says. */
function pop3Configuration(options: DovecotOptions, ports: { plain: number; implicit: number }): string {
  if (!options.pop3) return "";
  return `
protocols = $protocols pop3
service pop3-login {
  service_count = 0
  ${userInfo().uid === 0 ? "" : "chroot ="}
  inet_listener pop3 {
    port = ${ports.plain}
  }
  inet_listener pop3s {
    port = ${ports.implicit}
    ssl = yes
  }
}
`;
}

/** Only root may change the user or the root folder of a process. */
function withoutRoot(owner: Owner): string {
  const me = userInfo().username;
  const services = ["anvil", "stats", "imap-login", "imap-urlauth-login"];
  return `default_internal_user = ${me}
default_login_user = ${me}
default_internal_group = ${owner.group}
${services.map((service) => `service ${service} {\n  chroot =\n}\n`).join("")}`;
}
