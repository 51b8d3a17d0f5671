import { mkdir, readFile } from "node:fs/promises";
import { ImapFlow, type ImapFlowOptions } from "imapflow";
import { type Finished, runProcess } from "./processes.ts";
import { type TemporaryFolder, temporaryFolder } from "./temp.ts";

/** What a mail program is told about an account. */
export interface Account {
  readonly host: string;
  readonly port: number;
  readonly tls: "starttls" | "implicit";
  readonly user: string;
  readonly password: string;
  /** The certificate of the authority that the program trusts, PEM. */
  readonly ca: string;
}

/** curl reads one message, by its number in the mailbox; the body is exact. */
export async function curlRead(
  account: Account,
  index: number,
  mailbox = "INBOX",
): Promise<Finished & { body: Buffer }> {
  await using home = await homeOf(account);
  const finished = await curl(account, home, `${mailbox};MAILINDEX=${index}`, [
    "--output",
    home.at("message"),
  ]);
  const body = finished.code === 0 ? await readFile(home.at("message")) : Buffer.alloc(0);
  return { ...finished, body };
}

/** curl appends one message. */
export async function curlAppend(
  account: Account,
  message: Uint8Array,
  mailbox = "INBOX",
): Promise<Finished> {
  await using home = await homeOf(account);
  return await curl(account, home, mailbox, ["--upload-file", await home.write("message", message)]);
}

/** curl gives one command in a mailbox; the untagged answers are the output. */
export async function curlCommand(account: Account, command: string, mailbox = ""): Promise<Finished> {
  await using home = await homeOf(account);
  return await curl(account, home, mailbox, ["--request", command]);
}

async function curl(
  account: Account,
  home: TemporaryFolder,
  path: string,
  args: string[],
): Promise<Finished> {
  const scheme = account.tls === "implicit" ? "imaps" : "imap";
  const url = `${scheme}://${account.host}:${account.port}/${path}`;
  const login = await home.write("curlrc", `user = ${quoted(`${account.user}:${account.password}`)}\n`);
  const always = ["--config", login, "--silent", "--show-error", "--ssl-reqd", "--cacert", home.at("ca.pem")];
  return await runProcess("curl", [...always, ...args, url]);
}

/**
 * mbsync brings every mailbox and a Maildir folder to the same state, both ways. The folder holds `INBOX` and the
 * other mailboxes beside it, and is made when it is missing.
 */
export async function mbsync(account: Account, local: string): Promise<Finished> {
  await using home = await homeOf(account);
  await mkdir(local, { recursive: true });
  const config = await home.write(
    "mbsyncrc",
    `IMAPAccount door
Host ${account.host}
Port ${account.port}
User ${quoted(account.user)}
Pass ${quoted(account.password)}
AuthMechs LOGIN
SSLType ${account.tls === "implicit" ? "IMAPS" : "STARTTLS"}
SystemCertificates no
CertificateFile ${home.at("ca.pem")}

IMAPStore far
Account door

MaildirStore near
Path ${local}/
Inbox ${local}/INBOX
SubFolders Verbatim

Channel both
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`,
  );
  return await runProcess("mbsync", ["--config", config, "--all", "--verbose"]);
}

/** mutt opens the mailbox on a terminal, pipes its first message to a file and quits; gives the message as it saw it. */
export async function muttRead(account: Account, mailbox = "INBOX"): Promise<Finished & { message: string }> {
  await using home = await homeOf(account);
  const scheme = account.tls === "implicit" ? "imaps" : "imap";
  const config = await home.write(
    "muttrc",
    `set imap_user=${quoted(account.user)}
set imap_pass=${quoted(account.password)}
set ssl_force_tls=yes
set ssl_starttls=yes
set ssl_ca_certificates_file=${home.at("ca.pem")}
set certificate_file=${home.at("accepted-by-hand")}
set message_cachedir=""
set header_cache=""
set pipe_decode=no
set wait_key=no
set quit=yes
set sort=mailbox-order
push "<jump>1<enter><pipe-message>cat > ${home.at("message")}<enter><quit>"
`,
  );
  const command = `mutt -F ${config} -f ${scheme}://${account.host}:${account.port}/${mailbox}`;
  const finished = await runProcess("script", ["--quiet", "--return", "--command", command, "/dev/null"], {
    name: "mutt",
    env: { TERM: "vt100", LC_ALL: "C.UTF-8", HOME: home.path },
  });
  const message = await readFile(home.at("message"), "utf8").catch(() => "");
  return { ...finished, message };
}

/**
 * Python's imaplib signs in and then runs these lines, with the connection as `mail`; what they print is the output.
 * An error of imaplib is a bad exit code with the words of the server in `stderr`.
 */
export async function imaplib(account: Account, lines: string): Promise<Finished> {
  await using home = await homeOf(account);
  const script = `import imaplib, json, ssl, sys, hashlib
account = json.load(sys.stdin)
trusted = ssl.create_default_context(cafile=account["caFile"])
if account["tls"] == "implicit":
    mail = imaplib.IMAP4_SSL(account["host"], account["port"], ssl_context=trusted, timeout=20)
else:
    mail = imaplib.IMAP4(account["host"], account["port"], timeout=20)
    mail.starttls(trusted)
mail.login(account["user"], account["password"])
${lines}
mail.logout()
`;
  const input = JSON.stringify({ ...account, caFile: home.at("ca.pem") });
  return await runProcess("python3", ["-c", script], { name: "imaplib", input });
}

/** imapflow, in this process, not yet connected; `await using` ends its connection. */
export function imapflow(account: Account, more: Partial<ImapFlowOptions> = {}): ImapFlow & AsyncDisposable {
  const client = new ImapFlow({
    host: account.host,
    port: account.port,
    secure: account.tls === "implicit",
    ...(account.tls === "starttls" ? { doSTARTTLS: true } : {}),
    auth: { user: account.user, pass: account.password },
    tls: { ca: account.ca },
    logger: false,
    disableAutoIdle: true,
    ...more,
  });
  // What it has to say, its promises say too; unheard, the event would end the process.
  client.on("error", () => {});
  return Object.assign(client, {
    async [Symbol.asyncDispose]() {
      if (client.usable) await client.logout();
      client.close();
    },
  });
}

async function homeOf(account: Account): Promise<TemporaryFolder> {
  const home = await temporaryFolder();
  await home.write("ca.pem", account.ca);
  return home;
}

/** In the words of curl's, mbsync's and mutt's files alike. */
function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}
