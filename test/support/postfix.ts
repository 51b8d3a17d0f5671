import { readFileSync } from "node:fs";
import { chown, mkdir, readdir, readFile, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Certificate } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { type RunningProcess, runProcess, startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";
import { eventually } from "./waiting.ts";

const DAEMONS = "/usr/lib/postfix/sbin";

/** Postfix changes its processes' users, which nobody else may; a reason to skip a test, or false. */
export const withoutPostfix: string | false =
  userInfo().uid === 0 ? false : "Postfix can only be started by root";

export interface PostfixOptions {
  /** Domains whose mail it takes and keeps; each has one mailbox for all its addresses. */
  readonly domains: readonly string[];
  readonly tls: "none" | "starttls" | "implicit";
  /** Wanted unless tls is `none`. */
  readonly certificate?: Certificate;
  /** A submission server: everybody signs in, by this socket of a Dovecot's `service auth`. */
  readonly auth?: string;
  /** Takes mail, and keeps it in its queue for good. */
  readonly hold?: boolean;
  /** Further lines of main.cf. */
  readonly settings?: string;
  readonly name?: string;
}

/** A message as it lies in a mailbox. */
export interface Kept {
  readonly from: string;
  readonly to: string;
  /** With CRLF, beginning with the header fields that Postfix put before it. */
  readonly content: Buffer;
}

/** A private Postfix with its queue and its mail in a temporary folder. */
export interface Postfix extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly tls: PostfixOptions["tls"];
  readonly pid: number;
  /** The mail that lies in a domain's mailbox. */
  kept(domain: string): Promise<Kept[]>;
  /** Waits until a domain has so many messages; gives them. */
  keeps(domain: string, count: number): Promise<Kept[]>;
  /** The queue files of what it has taken, with `hold`; those that it never finished are none. */
  held(): Promise<Buffer[]>;
  /** Waits until nothing is on its way any more. */
  settled(): Promise<void>;
  log(): string;
  /** The whole server at once and before this returns, without a goodbye; what it has queued it keeps. */
  kill(): Promise<void>;
  /** Starts it again, on the same port, queue and mail. */
  restart(): Promise<void>;
}

export async function startPostfix(options: PostfixOptions): Promise<Postfix> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const name = options.name ?? "postfix";
  await makeFolders(folder.path, options.domains);
  await mkdir(folder.at("config"));
  if (options.certificate) {
    await folder.write("cert.pem", options.certificate.cert);
    await folder.write("key.pem", options.certificate.key);
  }
  await folder.write("boxes", options.domains.map((domain) => `@${domain} ${domain}/\n`).join(""));
  await folder.write("config/main.cf", mainCf(options, folder.path));
  await folder.write("config/master.cf", masterCf(port));
  await folder.write("mail.log", "");

  let server: RunningProcess;
  const start = async () => {
    server = await startProcess(`${DAEMONS}/master`, ["-d", "-c", folder.at("config")], {
      name,
      group: true,
    });
    await eventually(
      () => `the start of ${name}:\n${server.output()}`,
      async () => (await portOpen(port)) || (server.running ? undefined : failed(server.output())),
    );
  };
  const kill = async () => {
    await server.kill();
    await eventually(`the port of ${name} to be free`, async () => !(await portOpen(port)));
  };
  const kept = async (domain: string): Promise<Kept[]> => {
    const place = folder.at("mail", domain, "new");
    const files = (await readdir(place).catch(() => [])).sort();
    return Promise.all(files.map(async (file) => readKept(await readFile(join(place, file)))));
  };
  await start();

  return {
    host: "127.0.0.1",
    port,
    tls: options.tls,
    get pid() {
      return server.pid;
    },
    kept,
    async keeps(domain, count) {
      let found: Kept[] = [];
      await eventually(
        () => `${count} messages for ${domain} at ${name}, which has ${found.length}`,
        async () => {
          found = await kept(domain);
          return found.length >= count;
        },
      );
      return found;
    },
    async held() {
      const names = await readdir(folder.at("queue", "hold"));
      const files = names.map((file) => folder.at("queue", "hold", file));
      const modes = await Promise.all(files.map(async (file) => (await stat(file)).mode));
      // cleanup(8) makes a file executable when all of it is on the disk, and only then says so.
      return Promise.all(files.filter((_, at) => (modes[at] ?? 0) & 0o100).map((file) => readFile(file)));
    },
    settled: async () => {
      await eventually(
        `an empty queue of ${name}`,
        async () => {
          const queues = ["maildrop", "incoming", "active", "deferred"];
          const counts = await Promise.all(queues.map((queue) => countFiles(folder.at("queue", queue))));
          return counts.every((count) => count === 0);
        },
        { timeoutMs: 60_000, everyMs: 50 },
      );
    },
    log: () => readFileSync(folder.at("mail.log"), "utf8"),
    kill,
    async restart() {
      await kill();
      await start();
    },
    async [Symbol.asyncDispose]() {
      await kill();
      await folder.remove();
    },
  };
}

function failed(output: string): never {
  throw new Error(`Postfix did not start:\n${output}`);
}

async function portOpen(port: number): Promise<true | undefined> {
  const listening = await readFile("/proc/net/tcp", "latin1");
  const place = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`;
  return listening.includes(place) || undefined;
}

async function countFiles(place: string): Promise<number> {
  const entries = await readdir(place, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).length;
}

/** virtual(8) writes three fields of its own first, and LF as line ends. */
function readKept(file: Buffer): Kept {
  const text = file.toString("latin1").replaceAll("\n", "\r\n");
  const fields = /^Return-Path: <(.*)>\r\nX-Original-To: (.*)\r\nDelivered-To: .*\r\n/.exec(text);
  if (!fields) throw new Error(`not as virtual(8) writes it: ${text.slice(0, 200)}`);
  return {
    from: fields[1] ?? "",
    to: fields[2] ?? "",
    content: Buffer.from(text.slice(fields[0].length), "latin1"),
  };
}

async function id(flag: string, name: string): Promise<number> {
  return Number((await runProcess("id", [flag, name])).stdout);
}

/** What `postfix check` would make, for a queue that is not the system's. */
async function makeFolders(path: string, domains: readonly string[]): Promise<void> {
  const [postfix, nobody, nogroup] = await Promise.all([
    id("-u", "postfix"),
    id("-u", "nobody"),
    id("-g", "nobody"),
  ]);
  await mkdir(join(path, "queue", "pid"), { recursive: true });
  const own = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop"];
  for (const queue of [...own, "private", "public", "saved", "trace"]) {
    await mkdir(join(path, "queue", queue));
    await chown(join(path, "queue", queue), postfix, 0);
  }
  await mkdir(join(path, "data"));
  await chown(join(path, "data"), postfix, 0);
  for (const place of ["", ...domains]) {
    await mkdir(join(path, "mail", place), { recursive: true });
    await chown(join(path, "mail", place), nobody, nogroup);
  }
}

/** Without in_flow_delay: nothing leaves a queue that is on hold, and new mail would wait a second for what leaves. */
function mainCf(options: PostfixOptions, path: string): string {
  return `
compatibility_level = 3.6
in_flow_delay = 0
queue_directory = ${path}/queue
data_directory = ${path}/data
daemon_directory = ${DAEMONS}
mail_owner = postfix
maillog_file = ${path}/mail.log
maillog_file_prefixes = ${path}
myhostname = backend.example.net
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
append_dot_mydomain = no
message_size_limit = 100000000
smtputf8_enable = yes
virtual_mailbox_domains = ${options.domains.join(" ")}
virtual_mailbox_maps = texthash:${path}/boxes
virtual_mailbox_base = ${path}/mail
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_recipient_limit = 1000
smtpd_recipient_restrictions = ${options.auth ? "permit_sasl_authenticated," : ""} reject_unauth_destination
${options.auth ? `smtpd_relay_restrictions = permit_sasl_authenticated, reject\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = ${options.auth}\nsmtpd_sasl_security_options = noanonymous` : "smtpd_relay_restrictions = reject_unauth_destination"}
default_transport = discard:
relay_transport = discard:
smtpd_tls_security_level = ${options.tls === "none" ? "none" : "encrypt"}
smtpd_tls_auth_only = ${options.tls === "none" ? "no" : "yes"}
smtpd_tls_wrappermode = ${options.tls === "implicit" ? "yes" : "no"}
${options.certificate ? `smtpd_tls_cert_file = ${path}/cert.pem\nsmtpd_tls_key_file = ${path}/key.pem` : ""}
${options.hold ? "smtpd_client_restrictions = check_client_access static:HOLD" : ""}
${options.settings ?? ""}
`;
}

function masterCf(port: number): string {
  return `127.0.0.1:${port} inet n - n - 200 smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`;
}
