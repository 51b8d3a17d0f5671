import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Postern, StartError, startPostern } from "../app.ts";
import { parseConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { BindError } from "../listen/listener.ts";
import { fillWithSampleMail } from "../sandbox/sample-mail.ts";
import { type Sandbox, startSandbox } from "../sandbox/sandbox.ts";
import { createLogger } from "../telemetry/logger.ts";
import { stopSignal } from "./run.ts";

const HOST = "127.0.0.1";
const PASSWORD = "demo";
const STRANGER = "zoe@harbour.example";
/** Who lives where. */
const MAILBOXES = [
  { user: "alice@example.org", backend: "alpha" },
  { user: "bob@example.org", backend: "beta" },
] as const;

interface Ports {
  readonly imap: number;
  readonly imaps: number;
  readonly pop3: number;
  readonly pop3s: number;
  readonly submission: number;
  readonly submissions: number;
  readonly smtp: number;
  readonly admin: number;
}

/** `postern demo`: the gateway and two small backends in one process, until Ctrl-C. 1 when a port is taken. */
export async function demo(portBase: number): Promise<number> {
  const ports = {
    imap: portBase + 143,
    imaps: portBase + 993,
    pop3: portBase + 110,
    pop3s: portBase + 995,
    submission: portBase + 587,
    submissions: portBase + 465,
    smtp: portBase + 25,
    admin: portBase + 8025,
  };
  await using cleanup = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "postern-demo-"));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const backends = await startBackends(cleanup);
  const config = await writeConfig(folder, ports, backends);
  const { log, flush } = createLogger({ level: "info", format: "pretty" });
  cleanup.defer(flush);

  let postern: Postern;
  try {
    postern = await startPostern(config, log);
  } catch (error) {
    if (!(error instanceof BindError || error instanceof StartError)) throw error;
    console.error(
      `${error.message}\nThe demo needs that port; \`npm run demo -- --port-base 20000\` takes others.`,
    );
    return 1;
  }
  console.log(screen(ports));
  await stopSignal();
  await postern.close();
  console.log("\nThe demo has stopped; nothing is left behind.");
  return 0;
}

async function startBackends(cleanup: AsyncDisposableStack): Promise<Map<string, Sandbox>> {
  const backends = new Map<string, Sandbox>();
  for (const { user, backend } of MAILBOXES) {
    const sandbox = await startSandbox({
      name: backend,
      accounts: [{ name: user, password: PASSWORD }],
      // Mail between the two takes no detour over a network.
      accountElsewhere: (address) => backends.get(backendOf(address) ?? "")?.store.account(address),
    });
    cleanup.defer(() => sandbox.close());
    fillWithSampleMail(sandbox.store, user, backend);
    backends.set(backend, sandbox);
  }
  return backends;
}

function backendOf(address: string): string | undefined {
  return MAILBOXES.find(({ user }) => user === address)?.backend;
}

/** The same YAML that an operator would write, so that the demo is one more user of the contract. */
async function writeConfig(
  folder: string,
  ports: Ports,
  backends: ReadonlyMap<string, Sandbox>,
): Promise<Config> {
  const users = MAILBOXES.map(({ user, backend }) => [user, { password: `{PLAIN}${PASSWORD}`, backend }]);
  await writeFile(join(folder, "users.yaml"), JSON.stringify(Object.fromEntries(users)), { mode: 0o600 });
  const written = {
    hostname: "localhost",
    workers: 0,
    tls: { selfSigned: true },
    listeners: [
      { protocol: "imap", host: HOST, port: ports.imap },
      { protocol: "imap", host: HOST, port: ports.imaps, tls: "implicit" },
      { protocol: "pop3", host: HOST, port: ports.pop3 },
      { protocol: "pop3", host: HOST, port: ports.pop3s, tls: "implicit" },
      { protocol: "submission", host: HOST, port: ports.submission },
      { protocol: "submission", host: HOST, port: ports.submissions, tls: "implicit" },
      { protocol: "smtp", host: HOST, port: ports.smtp },
    ],
    authentication: { sources: [{ type: "file", path: "users.yaml" }] },
    backends: Object.fromEntries(
      [...backends].map(([name, { imapPort, pop3Port, submissionPort, smtpPort }]) => {
        const protocols = { imap: imapPort, pop3: pop3Port, submission: submissionPort, smtp: smtpPort };
        return [name, { host: HOST, tls: "none", protocols }];
      }),
    ),
    // Users are led by their entry in the users file, another server's mail by whom it is for.
    routes: MAILBOXES.map(({ user, backend }) => ({
      match: { recipient: user, protocol: "smtp" },
      to: backend,
    })),
    admin: { host: HOST, port: ports.admin },
  };
  const loaded = parseConfig(JSON.stringify(written), join(folder, "postern.yaml"));
  if (!loaded.ok) throw new Error(loaded.problems.map(formatProblem).join("\n"));
  return loaded.config;
}

function screen({ imap, imaps, pop3, pop3s, submission, submissions, smtp, admin }: Ports): string {
  const [first, second] = MAILBOXES;
  const letter = (from: string, to: string, subject: string): string =>
    `printf 'From: ${from}\\r\\nTo: ${to}\\r\\nSubject: ${subject}\\r\\n\\r\\nHello!\\r\\n'`;
  return `
Postern demo: one guarded door, two mail servers behind it.

  IMAP                  ${HOST} port ${imap}, STARTTLS
  IMAP over TLS         ${HOST} port ${imaps}
  POP3                  ${HOST} port ${pop3}, STLS
  POP3 over TLS         ${HOST} port ${pop3s}
  Submission            ${HOST} port ${submission}, STARTTLS
  Submission over TLS   ${HOST} port ${submissions}
  SMTP                  ${HOST} port ${smtp}, from other servers
  Metrics               http://${HOST}:${admin}/metrics

  ${first.user}   password ${PASSWORD}   lives on backend ${first.backend}
  ${second.user}     password ${PASSWORD}   lives on backend ${second.backend}

Try it from another terminal:

  curl -k "imaps://${HOST}:${imaps}/INBOX;MAILINDEX=3" -u ${first.user}:${PASSWORD}
  curl -k --ssl-reqd "imap://${HOST}:${imap}/INBOX;MAILINDEX=3" -u ${second.user}:${PASSWORD}
  curl -k "pop3s://${HOST}:${pop3s}/3" -u ${first.user}:${PASSWORD}
  openssl s_client -quiet -crlf -connect ${HOST}:${imaps}
      then type:  a LOGIN ${second.user} ${PASSWORD}

Send ${nameOf(second)} a letter as ${nameOf(first)}, by way of ${first.backend}, and read it where ${nameOf(second)} lives:

  ${letter(first.user, second.user, "Over the wall")} |
    curl -k --ssl-reqd smtp://${HOST}:${submission} -u ${first.user}:${PASSWORD} \\
      --mail-from ${first.user} --mail-rcpt ${second.user} -T -
  curl -k "imaps://${HOST}:${imaps}/INBOX;MAILINDEX=4" -u ${second.user}:${PASSWORD}
  curl -k "pop3s://${HOST}:${pop3s}/4" -u ${second.user}:${PASSWORD}

And one as another mail server would, without a password:

  ${letter(STRANGER, first.user, "From far away")} |
    curl -k --ssl-reqd smtp://${HOST}:${smtp} \\
      --mail-from ${STRANGER} --mail-rcpt ${first.user} -T -
  curl -k "imaps://${HOST}:${imaps}/INBOX;MAILINDEX=4" -u ${first.user}:${PASSWORD}

What the gateway counted:

  curl -s http://${HOST}:${admin}/metrics | grep ^postern_

A mail program: server ${HOST}, port ${imaps} to read and ${submissions} to send, TLS;
accept the self-signed certificate.
Every session that ends is one line below. Ctrl-C stops the demo.
`;
}

function nameOf({ user }: { readonly user: string }): string {
  return user.slice(0, user.indexOf("@"));
}
