import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { type Certificate, certificateAuthority } from "../test/support/certificates.ts";
import { freePort, freePorts } from "../test/support/ports.ts";
import { type RunningProcess, startProcess } from "../test/support/processes.ts";
import { type TemporaryFolder, temporaryFolder } from "../test/support/temp.ts";
import { eventually } from "../test/support/waiting.ts";

export const USERS: readonly string[] = Array.from({ length: 100 }, (_, at) => `user${at}@bench.test`);
export const PASSWORD = "correct-horse";

/** Where a gateway listens. */
export interface Ports {
  /** Implicit TLS. */
  readonly imap: number;
  /** Implicit TLS, signed in by AUTH PLAIN. */
  readonly submission: number;
  /** In clear text, from other servers. */
  readonly smtp: number;
}

/** One gateway that runs and can be measured. */
export interface Subject extends AsyncDisposable {
  readonly ports: Ports;
  /** The root of its process tree. */
  readonly pid: number;
  /** Where Postern tells how many sessions are open. */
  readonly adminPort?: number;
  /** The process that it asks about logins, where that is not part of the gateway. */
  readonly helperPid?: number;
}

/** A gateway as it can be started, as often as a measurement wants a fresh one. */
export interface Contender {
  readonly name: string;
  start(site: Site): Promise<Subject>;
}

/** What all gateways share: the backend, the certificate, the folder. */
export interface Site extends AsyncDisposable {
  readonly folder: TemporaryFolder;
  readonly backendPorts: Ports;
  /** Paths of the PEM files. */
  readonly certificate: Certificate;
  readonly authHttp: { readonly port: number; readonly pid: number };
}

/** With a certificate of RSA-2048, or of P-256. */
export async function openSite(curve = false): Promise<Site> {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await temporaryFolder());
  const { cert, key } = curve
    ? ofCurve(folder)
    : await (await certificateAuthority()).issue(["localhost", "127.0.0.1"]);
  const certificate = {
    cert: await folder.write("cert.pem", cert),
    key: await folder.write("key.pem", key),
  };
  const imap = await portOf(opening.use(await startPeer("backend")));
  const submission = await portOf(opening.use(await startPeer("smtp-backend")));
  const backendPorts = { imap, submission, smtp: await startSink(opening) };
  const authHttp = opening.use(await startPeer("auth-http", JSON.stringify(backendPorts)));
  const site = {
    folder,
    backendPorts,
    certificate,
    authHttp: { port: await portOf(authHttp), pid: authHttp.pid },
  };
  const opened = opening.move();
  return { ...site, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** By OpenSSL: forge knows no curves. */
function ofCurve(folder: TemporaryFolder): Certificate {
  const [cert, key] = [folder.at("curve.pem"), folder.at("curve.key")];
  const words = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=localhost";
  const files = ["-addext", "subjectAltName=DNS:localhost", "-out", cert, "-keyout", key];
  execFileSync("openssl", [...words.split(" "), ...files], { stdio: "pipe" });
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

/** Postfix's smtp-sink, which takes all mail and forgets it. */
async function startSink(opening: AsyncDisposableStack): Promise<number> {
  const port = await freePort();
  // It wants to be somebody where it is started as root.
  const as = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  opening.use(await startProcess("smtp-sink", [...as, `127.0.0.1:${port}`, "4096"]));
  await eventually("smtp-sink's greeting", () => greets(port));
  return port;
}

/** Whether somebody greets there, in clear text. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectPlain({ host: "127.0.0.1", port });
    socket.once("data", () => socket.end("QUIT\r\n", () => resolve(true)));
    socket.once("error", () => resolve(false));
  });
}

/** A script of `peers/` as a process of its own. */
export function startPeer(name: string, ...args: string[]): Promise<RunningProcess> {
  const script = fileURLToPath(new URL(`peers/${name}.ts`, import.meta.url));
  return startProcess(process.execPath, [script, ...args], { name });
}

async function portOf(peer: RunningProcess): Promise<number> {
  return Number((await peer.waitFor(/^port (\d+)$/m))[1]);
}

export interface PosternOptions {
  readonly name: string;
  readonly main: string;
  /** Processes that carry sessions; 0 for one that does everything. */
  readonly workers?: number;
  /** Where to write a CPU profile of each run. */
  readonly profile?: string | undefined;
}

export function postern({ name, main, workers = 0, profile }: PosternOptions): Contender {
  return {
    name,
    async start(site) {
      const [imap = 0, submission = 0, smtp = 0, adminPort = 0] = await freePorts(4);
      const ports = { imap, submission, smtp };
      const users = USERS.map((user) => [user, { password: `{PLAIN}${PASSWORD}` }]);
      const usersPath = await site.folder.write("users.yaml", JSON.stringify(Object.fromEntries(users)));
      const config = await site.folder.write(
        `postern-${imap}.yaml`,
        JSON.stringify({ workers, ...posternConfig(site, ports, adminPort, usersPath) }),
      );
      const flags = profile ? ["--cpu-prof", `--cpu-prof-dir=${profile}`, "--cpu-prof-interval=100"] : [];
      const log = site.folder.at(`postern-${imap}.log`);
      // Its log goes to a file, as it would for an operator, and not through this process.
      const command = `exec "$0" "$@" > "${log}"`;
      const args = [...flags, main, "run", "--config", config];
      const child = await startProcess("sh", ["-c", command, process.execPath, ...args], { name });
      return { ...(await running(child, ports)), adminPort };
    },
  };
}

function posternConfig(site: Site, ports: Ports, adminPort: number, usersPath: string) {
  const host = "127.0.0.1";
  const implicit = { host, tls: "implicit" };
  return {
    hostname: "bench.test",
    tls: { certificates: [site.certificate] },
    listeners: [
      { protocol: "imap", port: ports.imap, ...implicit },
      { protocol: "submission", port: ports.submission, ...implicit },
      { protocol: "smtp", port: ports.smtp, host, requireTls: false },
    ],
    authentication: { sources: [{ type: "file", path: usersPath }] },
    backends: { only: { host, tls: "none", protocols: site.backendPorts } },
    routes: [{ match: { recipientDomain: "bench.test" }, to: "only" }, { to: "only" }],
    submission: { maxMessageSize: "2GiB" },
    admin: { port: adminPort },
  };
}

export function nginx(name: string, proxyBuffer?: string): Contender {
  return {
    name,
    async start(site) {
      const [imap = 0, submission = 0, smtp = 0] = await freePorts(3);
      const ports = { imap, submission, smtp };
      const config = await site.folder.write(`nginx-${imap}.conf`, nginxConfig(site, ports, proxyBuffer));
      const child = await startProcess("nginx", ["-e", "stderr", "-c", config], {
        name,
        env: { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
      });
      return { ...(await running(child, ports)), helperPid: site.authHttp.pid };
    },
  };
}

/** Debian's defaults but for what has to be alike: one process, the certificate, TLS as the clients speak it. */
function nginxConfig(site: Site, ports: Ports, proxyBuffer: string | undefined): string {
  return `
load_module modules/ngx_mail_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr error;
pid ${site.folder.at(`nginx-${ports.imap}.pid`)};
events { worker_connections 16384; }
mail {
  server_name bench.test;
  auth_http 127.0.0.1:${site.authHttp.port}/auth;
  ${proxyBuffer ? `proxy_buffer ${proxyBuffer};` : ""}
  ssl_certificate ${site.certificate.cert};
  ssl_certificate_key ${site.certificate.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  xclient off;
  smtp_capabilities PIPELINING "SIZE 1000000000" 8BITMIME;
  server { listen 127.0.0.1:${ports.imap} ssl; protocol imap; }
  server { listen 127.0.0.1:${ports.submission} ssl; protocol smtp; smtp_auth plain; proxy_smtp_auth on; }
  server { listen 127.0.0.1:${ports.smtp}; protocol smtp; smtp_auth none; }
}
`;
}

async function running(child: RunningProcess, ports: Ports): Promise<Subject> {
  await eventually(`an answer on port ${ports.imap}`, () => {
    if (!child.running) throw new Error(`it did not start:\n${child.output()}`);
    return answers(ports.imap);
  });
  return { ports, pid: child.pid, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
}

/** Whether somebody greets there. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    socket.once("data", () => socket.end());
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(true));
  });
}
