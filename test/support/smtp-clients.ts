import type { Account } from "./clients.ts";
import { type Finished, runProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";

export interface Outgoing {
  readonly from: string;
  readonly to: readonly string[];
  /** With CRLF. */
  readonly message: Buffer;
}

/** Long enough for 70 MB through programs that take them line by line. */
const PATIENCE = 60_000;

export async function swaks(account: Account, { from, to, message }: Outgoing): Promise<Finished> {
  await using home = await temporaryFolder();
  const tls = account.tls === "implicit" ? "--tls-on-connect" : "--tls";
  const args = ["--server", account.host, "--port", `${account.port}`, tls, "--tls-verify"];
  args.push(
    "--tls-ca-path",
    await home.write("ca.pem", account.ca),
    "--auth",
    "LOGIN",
    "--auth-user",
    account.user,
  );
  args.push("--auth-password", account.password, "--from", from, "--to", to.join(","));
  // swaks ends the last line itself, whether it has its end or not.
  const unended = withLf(message).toString("latin1").replace(/\n$/, "");
  args.push("--data", `@${await home.write("message", Buffer.from(unended, "latin1"))}`);
  return await runProcess("swaks", args, { timeoutMs: PATIENCE });
}

export async function msmtp(account: Account, { from, to, message }: Outgoing): Promise<Finished> {
  await using home = await temporaryFolder();
  const config = await home.write(
    "msmtprc",
    `account default
host ${account.host}
port ${account.port}
tls on
tls_starttls ${account.tls === "starttls" ? "on" : "off"}
tls_trust_file ${await home.write("ca.pem", account.ca)}
auth plain
user ${account.user}
password ${account.password}
from ${from}
`,
  );
  await runProcess("chmod", ["600", config]);
  return await runProcess("msmtp", ["--file", config, "--", ...to], {
    input: withLf(message),
    timeoutMs: PATIENCE,
  });
}

export async function curlSend(account: Account, { from, to, message }: Outgoing): Promise<Finished> {
  await using home = await temporaryFolder();
  const url = `${account.tls === "implicit" ? "smtps" : "smtp"}://${account.host}:${account.port}`;
  const args = ["--silent", "--show-error", "--ssl-reqd", "--cacert", await home.write("ca.pem", account.ca)];
  args.push("--user", `${account.user}:${account.password}`, "--mail-from", from);
  args.push(
    ...to.flatMap((each) => ["--mail-rcpt", each]),
    "--upload-file",
    await home.write("message", message),
  );
  return await runProcess("curl", [...args, url], { timeoutMs: PATIENCE });
}

/** Python's smtplib; `options` are parameters of MAIL. An error of smtplib is a bad exit code with its words. */
export async function smtplib(
  account: Account,
  { from, to, message }: Outgoing,
  options: readonly string[] = [],
): Promise<Finished> {
  await using home = await temporaryFolder();
  const script = `import json, smtplib, ssl, sys
given = json.load(sys.stdin)
trusted = ssl.create_default_context(cafile=given["caFile"])
if given["tls"] == "implicit":
    client = smtplib.SMTP_SSL(given["host"], given["port"], context=trusted, timeout=30)
else:
    client = smtplib.SMTP(given["host"], given["port"], timeout=30)
    client.starttls(context=trusted)
client.login(given["user"], given["password"])
message = open(given["file"], "rb").read()
refused = client.sendmail(given["from"], given["to"], message, mail_options=given["options"])
print(json.dumps({address: list(map(str, why)) for address, why in refused.items()}))
client.quit()
`;
  const files = {
    caFile: await home.write("ca.pem", account.ca),
    file: await home.write("message", message),
  };
  const input = JSON.stringify({ ...account, ...files, from, to, options });
  return await runProcess("python3", ["-c", script], { name: "smtplib", input, timeoutMs: PATIENCE });
}

function withLf(message: Buffer): Buffer {
  return Buffer.from(message.toString("latin1").replaceAll("\r\n", "\n"), "latin1");
}
