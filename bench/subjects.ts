import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { type Certificate, certificateAuthority } from "../test/support/certificates.ts";
import { freePorts } from "../test/support/ports.ts";
import { type RunningProcess, startProcess } from "../test/support/processes.ts";
import { type TemporaryFolder, temporaryFolder } from "../test/support/temp.ts";
import { eventually } from "../test/support/waiting.ts";

export const USERS: readonly string[] = Array.from({ length: 100 }, (_, at) => `user${at}@bench.test`);
export const PASSWORD = "correct-horse";

/** One gateway that runs and can be measured. */
export interface Subject extends AsyncDisposable {
  /** Implicit TLS, IMAP. */
  readonly port: number;
  /** The root of its process tree. */
  readonly pid: number;
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
  readonly backendPort: number;
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
  const backend = opening.use(await startPeer("backend"));
  const backendPort = await portOf(backend);
  const authHttp = opening.use(await startPeer("auth-http", String(backendPort)));
  const site = {
    folder,
    backendPort,
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
  /** Where to write a CPU profile of each run. */
  readonly profile?: string | undefined;
}

export function postern({ name, main, profile }: PosternOptions): Contender {
  return {
    name,
    async start(site) {
      const [port = 0, adminPort = 0] = await freePorts(2);
      const users = USERS.map((user) => [user, { password: `{PLAIN}${PASSWORD}` }]);
      const usersPath = await site.folder.write("users.yaml", JSON.stringify(Object.fromEntries(users)));
      const config = await site.folder.write(
        `postern-${port}.yaml`,
        JSON.stringify(posternConfig(site, { port, adminPort, usersPath })),
      );
      const flags = profile ? ["--cpu-prof", `--cpu-prof-dir=${profile}`, "--cpu-prof-interval=100"] : [];
      const log = site.folder.at(`postern-${port}.log`);
      // Its log goes to a file, as it would for an operator, and not through this process.
      const command = `exec "$0" "$@" > "${log}"`;
      const args = [...flags, main, "run", "--config", config];
      const child = await startProcess("sh", ["-c", command, process.execPath, ...args], { name });
      return running(child, port);
    },
  };
}

function posternConfig(site: Site, { port, adminPort, usersPath }: Record<string, unknown>) {
  return {
    hostname: "bench.test",
    tls: { certificates: [site.certificate] },
    listeners: [{ protocol: "imap", host: "127.0.0.1", port, tls: "implicit" }],
    authentication: { sources: [{ type: "file", path: usersPath }] },
    backends: { only: { host: "127.0.0.1", tls: "none", protocols: { imap: site.backendPort } } },
    routes: [{ to: "only" }],
    admin: { port: adminPort },
  };
}

export function nginx(name: string, proxyBuffer?: string): Contender {
  return {
    name,
    async start(site) {
      const [port = 0] = await freePorts(1);
      const config = await site.folder.write(`nginx-${port}.conf`, nginxConfig(site, port, proxyBuffer));
      const child = await startProcess("nginx", ["-e", "stderr", "-c", config], {
        name,
        env: { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
      });
      return { ...(await running(child, port)), helperPid: site.authHttp.pid };
    },
  };
}

/** Debian's defaults but for what has to be alike: one process, the certificate, TLS as the clients speak it. */
function nginxConfig(site: Site, port: number, proxyBuffer: string | undefined): string {
  return `
load_module modules/ngx_mail_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr error;
pid ${site.folder.at(`nginx-${port}.pid`)};
events { worker_connections 16384; }
mail {
  server_name bench.test;
  auth_http 127.0.0.1:${site.authHttp.port}/auth;
  ${proxyBuffer ? `proxy_buffer ${proxyBuffer};` : ""}
  ssl_certificate ${site.certificate.cert};
  ssl_certificate_key ${site.certificate.key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server { listen 127.0.0.1:${port} ssl; protocol imap; }
}
`;
}

async function running(child: RunningProcess, port: number): Promise<Subject> {
  await eventually(`an answer on port ${port}`, () => {
    if (!child.running) throw new Error(`it did not start:\n${child.output()}`);
    return answers(port);
  });
  return { port, pid: child.pid, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
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
