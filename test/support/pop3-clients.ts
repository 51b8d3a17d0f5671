import { chmod, mkdir, readdir, readFile } from "node:fs/promises";
import type { Account } from "./clients.ts";
import { type Finished, runProcess } from "./processes.ts";
import { type TemporaryFolder, temporaryFolder } from "./temp.ts";

/** curl's answer to one URL path, such as "1" for a message or "" for the list; what it wrote is exact. */
export async function curlPop3(
  account: Account,
  path: string,
  args: readonly string[] = [],
): Promise<Finished & { body: Buffer }> {
  await using home = await homeOf(account);
  const scheme = account.tls === "implicit" ? "pop3s" : "pop3";
  const login = await home.write("curlrc", `user = ${quoted(`${account.user}:${account.password}`)}\n`);
  const finished = await runProcess("curl", [
    ...["--config", login, "--silent", "--show-error", "--ssl-reqd", "--cacert", home.at("ca.pem")],
    ...["--output", home.at("body"), ...args],
    `${scheme}://${account.host}:${account.port}/${path}`,
  ]);
  const body = await readFile(home.at("body")).catch(() => Buffer.alloc(0));
  return { ...finished, body };
}

/**
 * Python's poplib signs in by `login` and then runs these lines, with the connection as `mail`; what they print is
 * the output. Says QUIT at the end unless the lines have left.
 */
export async function poplib(
  account: Account,
  lines: string,
  login = 'mail.user(account["user"]); mail.pass_(account["password"])',
): Promise<Finished> {
  await using home = await homeOf(account);
  const script = `import poplib, json, ssl, sys, hashlib
poplib._MAXLINE = 10_000_000
account = json.load(sys.stdin)
trusted = ssl.create_default_context(cafile=account["caFile"])
if account["tls"] == "implicit":
    mail = poplib.POP3_SSL(account["host"], account["port"], context=trusted, timeout=20)
else:
    mail = poplib.POP3(account["host"], account["port"], timeout=20)
    mail.stls(trusted)
def text(number):
    return b"\\r\\n".join(mail.retr(number)[1]) + b"\\r\\n"
${login}
${lines}
mail.quit()
`;
  const input = JSON.stringify({ ...account, caFile: home.at("ca.pem") });
  return await runProcess("python3", ["-c", script], { name: "poplib", input });
}

/** A mail program that fetches everything there is into a folder and remembers by UIDL what it had. */
export type Fetcher = (account: Account, local: TemporaryFolder, how: Fetching) => Promise<Finished>;

export interface Fetching {
  /** Leave the messages on the server, or delete each once it is here. */
  readonly keep: boolean;
}

/** What getmail puts before a message that has no such line. */
const GETMAILS_OWN = "Return-Path: <unknown>\n";

/** What a fetcher has brought into its folder, as files of LF lines, in no particular order. */
export async function fetched(local: TemporaryFolder): Promise<Buffer[]> {
  const folders = ["cur", "new"].map((part) => local.at("mail", part));
  const files = await Promise.all(
    folders.map(async (folder) => (await readdir(folder).catch(() => [])).map((name) => `${folder}/${name}`)),
  );
  const messages = await Promise.all(files.flat().map((file) => readFile(file)));
  return messages.map((message) =>
    message.subarray(0, GETMAILS_OWN.length).toString() === GETMAILS_OWN
      ? message.subarray(GETMAILS_OWN.length)
      : message,
  );
}

export const mpop: Fetcher = async (account, local, { keep }) => {
  await prepare(account, local);
  const config = await local.write(
    "mpoprc",
    `defaults
tls on
tls_starttls ${account.tls === "starttls" ? "on" : "off"}
tls_trust_file ${local.at("ca.pem")}
account door
host ${account.host}
port ${account.port}
user ${account.user}
passwordeval "cat ${await local.write("password", account.password)}"
delivery maildir ${local.at("mail")}
uidls_file ${local.at("uidls")}
keep ${keep ? "on" : "off"}
only_new on
received_header off
`,
  );
  return await runProcess("mpop", ["--file", config, "--quiet", "door"], { env: { HOME: local.path } });
};

/** Implicit TLS only: it knows no STLS. */
export const getmail: Fetcher = async (account, local, { keep }) => {
  await prepare(account, local);
  await local.write(
    "getmailrc",
    `[retriever]
type = SimplePOP3SSLRetriever
server = ${account.host}
port = ${account.port}
username = ${account.user}
password = ${account.password.replaceAll("%", "%%")}
ca_certs = ${local.at("ca.pem")}
timeout = 20

[destination]
type = Maildir
path = ${local.at("mail")}/
user = ${process.getuid?.() === 0 ? "nobody" : ""}

[options]
delete = ${keep ? "false" : "true"}
read_all = false
delivered_to = false
received = false
`.replace(/^user = \n/m, ""),
  );
  return await runProcess("getmail", ["--getmaildir", local.path, "--rcfile", local.at("getmailrc")], {
    env: { HOME: local.path },
  });
};

export const fetchmail: Fetcher = async (account, local, { keep }) => {
  await prepare(account, local);
  const config = await local.write(
    "fetchmailrc",
    `set idfile ${local.at("uidls")}
set no bouncemail
set invisible
poll ${account.host} protocol pop3 port ${account.port} uidl timeout 20
  user ${quoted(account.user)} password ${quoted(account.password)}
  ${account.tls === "implicit" ? "ssl" : "sslproto TLS1.2+"} sslcertck sslcertfile ${local.at("ca.pem")}
  ${keep ? "keep" : "no keep fetchall"} no rewrite
  mda "cat > ${local.at("mail", "new")}/$$.$RANDOM.$(date +%N)"
`,
  );
  // It reads no password from a file that others can read.
  await chmod(config, 0o600);
  return await runProcess(
    "fetchmail",
    ["--fetchmailrc", config, "--pidfile", local.at("pid"), "--nosyslog", "--nodetach", "--verbose"],
    { env: { HOME: local.path, FETCHMAILHOME: local.path } },
  );
};

async function prepare(account: Account, local: TemporaryFolder): Promise<void> {
  await local.write("ca.pem", account.ca);
  for (const part of [".", "cur", "new", "tmp"]) {
    await mkdir(local.at("mail", part), { recursive: true });
    // getmail writes no mail as root, but as somebody else.
    await chmod(local.at("mail", part), 0o777);
  }
}

async function homeOf(account: Account): Promise<TemporaryFolder> {
  const home = await temporaryFolder();
  await home.write("ca.pem", account.ca);
  return home;
}

function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}
