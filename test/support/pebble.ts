import { get } from "node:https";
import { type Authority, certificateAuthority } from "./certificates.ts";
import { freePort, freePorts } from "./ports.ts";
import { startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";
import { eventually } from "./waiting.ts";

export interface PebbleOptions {
  /** Where it knocks for http-01 and for tls-alpn-01; without it, at ports where nobody is. */
  readonly httpPort?: number;
  readonly tlsPort?: number;
  /** Where it listens itself; without it a free port. */
  readonly port?: number;
  /** Accounts are for those only who know this key. */
  readonly eab?: { readonly kid: string; readonly hmacKey: string };
  /** How many of a hundred good nonces it calls bad. */
  readonly nonceReject?: number;
  /** Signs its own HTTPS certificate. */
  readonly authority?: Authority;
}

/** Pebble, the ACME server for tests, with a DNS that knows every name as 127.0.0.1. */
export interface Pebble extends AsyncDisposable {
  readonly directory: string;
  /** Whom its own HTTPS is trusted by. */
  readonly ca: string;
  /** The management address of its DNS, for hooks: POST /set-txt and /clear-txt. */
  readonly dns: string;
  /** The root of what it issues: another one at each start. */
  root(): Promise<string>;
  output(): string;
}

export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  await using parts = new AsyncDisposableStack();
  const authority = options.authority ?? (await certificateAuthority("Authority of the ACME server"));
  const own = await authority.issue(["127.0.0.1", "localhost"]);
  const folder = parts.use(await temporaryFolder());
  const [management, dnsPort, dnsManagement, nobody] = (await freePorts(4)) as [
    number,
    number,
    number,
    number,
  ];
  const port = options.port ?? (await freePort());
  const config = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: await folder.write("own.pem", own.cert),
    privateKey: await folder.write("own.key", own.key),
    httpPort: options.httpPort ?? nobody,
    tlsPort: options.tlsPort ?? nobody,
    ocspResponderURL: "",
    externalAccountBindingRequired: options.eab !== undefined,
    externalAccountMACKeys: options.eab ? { [options.eab.kid]: options.eab.hmacKey } : {},
  };
  const file = await folder.write("pebble.json", JSON.stringify({ pebble: config }));

  const dns = ["-dns01", `127.0.0.1:${dnsPort}`, "-management", `127.0.0.1:${dnsManagement}`];
  const off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
  parts.use(await startProcess("pebble-challtestsrv", [...dns, ...off], { name: "challtestsrv" }));
  const pebble = parts.use(
    await startProcess("pebble", ["-config", file, "-dnsserver", `127.0.0.1:${dnsPort}`], {
      name: "pebble",
      env: {
        PEBBLE_VA_NOSLEEP: "1",
        PEBBLE_VA_ALWAYS_VALID: "0",
        PEBBLE_AUTHZREUSE: "0",
        PEBBLE_WFE_NONCEREJECT: String(options.nonceReject ?? 0),
      },
    }),
  );
  const directory = `https://127.0.0.1:${port}/dir`;
  await eventually(
    () => `pebble to answer\n${pebble.output()}`,
    async () => (await ask(directory, authority.ca).catch(() => undefined)) !== undefined,
  );
  await eventually("the DNS to answer", () =>
    fetch(`http://127.0.0.1:${dnsManagement}/`).then(
      () => true,
      () => false,
    ),
  );
  const running = parts.move();
  return {
    directory,
    ca: authority.ca,
    dns: `http://127.0.0.1:${dnsManagement}`,
    root: () => ask(`https://127.0.0.1:${management}/roots/0`, authority.ca),
    output: () => pebble.output(),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function ask(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { ca, agent: false, timeout: 5_000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () =>
        response.statusCode === 200 ? resolve(body) : reject(new Error(`${url}: ${response.statusCode}`)),
      );
    });
    request.on("timeout", () => request.destroy(new Error(`no answer from ${url}`)));
    request.on("error", reject);
  });
}
