import assert from "node:assert/strict";
import { chmod, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { connect, type PeerCertificate } from "node:tls";
import { certificateAuthority } from "../support/certificates.ts";
import { type Gateway, startGateway } from "../support/gateway.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePort, freePorts } from "../support/ports.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temp.ts";
import { eventually, within } from "../support/waiting.ts";

const NAME = "mail.example.org";

interface Given {
  readonly acme: Record<string, unknown>;
  readonly imaps: number;
  readonly more?: Record<string, unknown>;
}

async function gateway(t: TestContext, { acme, imaps, more }: Given): Promise<Gateway> {
  const gateway = await startGateway({
    config: {
      hostname: NAME,
      tls: { acme: { email: "postmaster@example.org", domains: [NAME], ...acme } },
      listeners: [{ protocol: "imap", port: imaps, host: "127.0.0.1", tls: "implicit", name: "imaps" }],
      backends: { north: { host: "127.0.0.1", tls: "none", protocols: { imap: 1 } } },
      ...more,
    },
  });
  t.after(() => gateway[Symbol.asyncDispose]());
  return gateway;
}

interface Sight {
  readonly certificate: PeerCertificate;
  readonly greeting: string;
}

/** What a client that trusts `ca` sees of the name at an IMAP listener; without `ca` it trusts anyone. */
function visit(port: number, ca?: string, servername = NAME): Promise<Sight> {
  const trust = ca === undefined ? { rejectUnauthorized: false } : { ca };
  const visit = new Promise<Sight>((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", servername, ...trust });
    socket.once("error", reject);
    socket.once("data", (greeting) => {
      resolve({ certificate: socket.getPeerCertificate(), greeting: greeting.toString() });
      socket.destroy();
    });
  });
  return within(5_000, "a greeting inside TLS", visit);
}

/** Waits until clients who trust the CA's root are served. */
async function trusted(gateway: Gateway, port: number, ca: string, servername = NAME): Promise<Sight> {
  return eventually(
    () => `a certificate of the authority\n${gateway.output()}`,
    () => visit(port, ca, servername).catch(() => undefined),
  );
}

/** A hook in a folder of its own that writes what it is told into the CA's DNS, once `gate` is there. */
async function dnsHook(
  t: TestContext,
  pebble: Pebble,
): Promise<{ folder: TemporaryFolder; command: string[] }> {
  const folder = await temporaryFolder();
  t.after(() => folder.remove());
  const hook = await folder.write(
    "hook",
    `#!/bin/sh
set -eu
dns=$1 action=$2 domain=$3 record=$4 value=$5
echo "$action $record" >&2
echo "$action $domain $record $value" >> ${folder.at("told")}
while [ ! -e ${folder.at("gate")} ]; do sleep 0.05; done
case $action in
  present) curl -sf -d "{\\"host\\":\\"$record.\\",\\"value\\":\\"$value\\"}" "$dns/set-txt" ;;
  cleanup) curl -sf -d "{\\"host\\":\\"$record.\\"}" "$dns/clear-txt" ;;
esac
`,
  );
  await chmod(hook, 0o755);
  return { folder, command: [hook, pebble.dns] };
}

test("http-01: a client of a listener sees the certificate without a restart", async (t) => {
  const [httpPort, imaps] = (await freePorts(2)) as [number, number];
  await using pebble = await startPebble({ httpPort, nonceReject: 20 });
  const ca = await writeCa(t, pebble);
  const door = await gateway(t, { imaps, acme: { directory: pebble.directory, ca, httpPort } });
  const { certificate, greeting } = await trusted(door, imaps, await pebble.root());
  assert.equal(certificate.subjectaltname, `DNS:${NAME}`);
  assert.match(greeting, /^\* OK /);
  await door.metricIs("postern_acme_orders_total", 1, { outcome: "ok" });
  assert.equal(await door.metric("postern_acme_failures"), 0);
  // Pebble's are good for five years, and the temporary one is gone.
  const years = (await door.metric("postern_certificate_expiry_seconds")) / (365 * 86_400);
  assert.ok(years > 4.9 && years < 5.1, `${years} years`);

  await t.test("the listener for challenges answers 404 to everything else", async () => {
    for (const path of [
      "/",
      "/.well-known/acme-challenge/",
      "/.well-known/acme-challenge/unknown",
      "/metrics",
    ]) {
      const answer = await fetch(`http://127.0.0.1:${httpPort}${path}`);
      assert.deepEqual([answer.status, await answer.text()], [404, ""], path);
    }
  });

  await t.test("keys and certificates are for their owner alone", async () => {
    const acme = door.folder.at("data", "acme");
    const modes: Record<string, string> = {};
    for (const entry of await readdir(acme, { recursive: true, withFileTypes: true }))
      modes[entry.name] = ((await stat(`${entry.parentPath}/${entry.name}`)).mode & 0o777).toString(8);
    const [folder] = await readdir(acme);
    assert.deepEqual(modes, { [String(folder)]: "700", "account.key": "600", [`${NAME}.pem`]: "600" });
    assert.equal((await stat(acme)).mode & 0o777, 0o700);
  });

  await t.test("no key and no proof is in the log", () => {
    assert.doesNotMatch(door.output(), /PRIVATE KEY|BEGIN CERTIFICATE/);
  });

  await t.test("a stop ends the listener for challenges too", async () => {
    assert.equal(await door.stop(), 0);
    await assert.rejects(fetch(`http://127.0.0.1:${httpPort}/`));
  });
});

test("tls-alpn-01: the authority is answered at the mail listener itself, and mail clients notice nothing", async (t) => {
  const imaps = await freePort();
  await using pebble = await startPebble({ tlsPort: imaps });
  const ca = await writeCa(t, pebble);
  const door = await gateway(t, {
    imaps,
    acme: { directory: pebble.directory, ca, challenge: "tls-alpn-01" },
  });
  const { greeting } = await trusted(door, imaps, await pebble.root());
  assert.match(greeting, /^\* OK /);
});

test("dns-01: a hook writes the records, and a wildcard beside its own domain is proved", async (t) => {
  const imaps = await freePort();
  await using pebble = await startPebble();
  const ca = await writeCa(t, pebble);
  const { folder, command } = await dnsHook(t, pebble);
  await folder.write("gate", "");
  const domains = ["example.org", "*.example.org"];
  const door = await gateway(t, {
    imaps,
    acme: { directory: pebble.directory, ca, domains, challenge: "dns-01", dnsHook: command },
  });
  const { certificate } = await trusted(door, imaps, await pebble.root());
  assert.deepEqual(certificate.subjectaltname?.split(", ").toSorted(), [
    "DNS:*.example.org",
    "DNS:example.org",
  ]);
  const said = door.log().filter(({ msg }) => msg === "dnsHook says");
  assert.deepEqual(
    said.map(({ line }) => line),
    [..."12"].flatMap(() => ["present _acme-challenge.example.org", "cleanup _acme-challenge.example.org"]),
  );
});

test("renewal: the old certificate is used at once and until the new one is there; sessions go on", async (t) => {
  const imaps = await freePort();
  await using pebble = await startPebble();
  const ca = await writeCa(t, pebble);
  const { folder, command } = await dnsHook(t, pebble);
  const old = await certificateAuthority("Authority of the old certificate");
  const pair = await old.issue([NAME], { endsInMs: 86_400_000 });
  const place = folder.at("data", "acme", `127.0.0.1-${new URL(pebble.directory).port}-dir`);
  await mkdir(place, { recursive: true });
  await writeFile(`${place}/${NAME}.pem`, pair.key + pair.cert);

  const door = await gateway(t, {
    imaps,
    acme: { directory: pebble.directory, ca, challenge: "dns-01", dnsHook: command },
    more: { dataDir: folder.at("data") },
  });
  assert.match((await visit(imaps, old.ca)).greeting, /^\* OK /);
  const staying = connect({ port: imaps, host: "127.0.0.1", servername: NAME, ca: old.ca });
  t.after(() => staying.destroy());
  const heard = collect(staying);
  await eventually("a greeting", () => heard().startsWith("* OK "));

  await folder.write("gate", "");
  await trusted(door, imaps, await pebble.root());
  await assert.rejects(visit(imaps, old.ca));
  staying.write("a NOOP\r\n");
  await eventually("the session to go on", () => heard().includes("a OK "));
});

test("an authority that is down: the listeners come up with a temporary certificate, loudly", async (t) => {
  const [httpPort, imaps, nobody] = (await freePorts(3)) as [number, number, number];
  const directory = `https://127.0.0.1:${nobody}/dir`;
  const door = await gateway(t, { imaps, acme: { directory, httpPort } });
  const { certificate, greeting } = await visit(imaps);
  assert.match(greeting, /^\* OK /);
  assert.equal(certificate.subjectaltname, `DNS:${NAME}`);
  await door.metricIs("postern_acme_failures", 1);
  const [warning] = door.log().filter(({ msg }) => String(msg).includes("temporary"));
  assert.equal(warning?.["level"], 40);
  const [failure] = door.log().filter(({ msg }) => msg === "no certificate by ACME");
  assert.match(String(failure?.["reason"]), /ECONNREFUSED/);
  const pause = Date.parse(String(failure?.["nextTry"])) - Date.now();
  assert.ok(pause > 4 * 60_000 && pause < 8 * 60_000, `next try in ${pause} ms`);
});

test("a port for challenges that cannot be had stops the start with a reason", async () => {
  const [httpPort, imaps] = (await freePorts(2)) as [number, number];
  const { createServer } = await import("node:net");
  const squatter = createServer().listen(httpPort);
  try {
    await assert.rejects(
      startGateway({
        config: {
          tls: {
            acme: { directory: "https://127.0.0.1:1/dir", email: "a@example.org", domains: [NAME], httpPort },
          },
          listeners: [{ protocol: "imap", port: imaps }],
          backends: { north: { host: "127.0.0.1", tls: "none", protocols: { imap: 1 } } },
        },
      }),
      /tls\.acme: cannot listen for http-01 on port \d+: .*EADDRINUSE/,
    );
  } finally {
    squatter.close();
  }
});

async function writeCa(t: TestContext, pebble: Pebble): Promise<string> {
  const folder = await temporaryFolder();
  t.after(() => folder.remove());
  return folder.write("acme-ca.pem", pebble.ca);
}

function collect(socket: NodeJS.ReadableStream): () => string {
  let heard = "";
  socket.on("data", (chunk: Buffer) => {
    heard += chunk.toString("latin1");
  });
  return () => heard;
}
