import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type ConnectionOptions, connect } from "node:tls";
import { certificateAuthority } from "../support/certificates.ts";
import { type Gateway, startGateway } from "../support/gateway.ts";
import { startPebble } from "../support/pebble.ts";
import { freePort, freePorts } from "../support/ports.ts";
import { startRedis } from "../support/redis.ts";
import { eventually, within } from "../support/waiting.ts";

const NAME = "mail.example.org";
const SECRET = "a secret that all replicas have in common";

interface Given {
  readonly store: string;
  readonly tls: Record<string, unknown>;
  readonly files?: Record<string, string>;
  readonly secret?: string | undefined;
}

/** One of several Posterns, with IMAP and TLS from the first byte. */
async function replica(
  t: TestContext,
  { store, tls, files, secret }: Given,
): Promise<Gateway & { imaps: number }> {
  const imaps = await freePort();
  const gateway = await startGateway({
    config: {
      hostname: NAME,
      ...(secret !== undefined && { clusterSecret: secret }),
      tls,
      listeners: [{ protocol: "imap", port: imaps, host: "127.0.0.1", tls: "implicit", name: "imaps" }],
      backends: { north: { host: "127.0.0.1", tls: "none", protocols: { imap: 1 } } },
      policy: { store },
    },
    files: files ?? {},
  });
  t.after(() => gateway[Symbol.asyncDispose]());
  return { ...gateway, imaps };
}

/** Hears the greeting; gives the ticket, if it was resumed, and whose certificate it is. */
function visit(port: number, options: ConnectionOptions) {
  const { promise, resolve, reject } = Promise.withResolvers<{
    ticket?: Buffer;
    resumed: boolean;
    issued: string;
  }>();
  const socket = connect({ port, host: "127.0.0.1", servername: NAME, maxVersion: "TLSv1.2", ...options });
  let ticket: Buffer | undefined;
  socket.once("session", (session) => {
    ticket = session;
  });
  socket.once("error", reject);
  socket.once("data", () => {
    const issued = socket.getPeerCertificate().fingerprint256 ?? "";
    resolve({ ...(ticket && { ticket }), resumed: socket.isSessionReused(), issued });
    socket.destroy();
  });
  return within(5_000, "a greeting inside TLS", promise);
}

test("a TLS session of one replica resumes at another of the same clusterSecret, and at no other", async (t) => {
  await using redis = await startRedis();
  const authority = await certificateAuthority();
  const { cert, key } = await authority.issue([NAME]);
  const tls = { certificates: [{ cert: "cert.pem", key: "key.pem" }] };
  const given = { store: redis.url, tls, files: { "cert.pem": cert, "key.pem": key } };
  const one = await replica(t, { ...given, secret: SECRET });
  const other = await replica(t, { ...given, secret: SECRET });
  const stranger = await replica(t, { ...given, secret: `${SECRET}!` });
  const alone = await replica(t, given);
  const { ticket: session } = await visit(one.imaps, { ca: authority.ca });
  assert.ok(session);
  const again = async ({ imaps }: { imaps: number }) =>
    (await visit(imaps, { ca: authority.ca, session })).resumed;
  assert.equal(await again(one), true);
  assert.equal(await again(other), true);
  assert.equal(await again(stranger), false);
  assert.equal(await again(alone), false);
  assert.match(stranger.output(), /its clusterSecret is another one/);
  assert.match(alone.output(), /shares counters only/);
  await one.metricIs("postern_store_up", 1);
});

test("one replica orders for all: the authority knocks at any, and all have the certificate", async (t) => {
  await using redis = await startRedis();
  const [knocked, elsewhere] = (await freePorts(2)) as [number, number];
  await using pebble = await startPebble({ httpPort: knocked });
  const acme = { email: `postmaster@${NAME}`, domains: [NAME], directory: pebble.directory, ca: "ca.pem" };
  const given = { store: redis.url, secret: SECRET, files: { "ca.pem": pebble.ca } };
  const lease = `{postern}:lease:acme:${pebble.directory.replace("https://", "").replaceAll(/[^A-Za-z0-9.]+/g, "-")}/${NAME}`;
  await redis.cli("set", lease, "somebody", "px", "600000");
  // The authority knows this one only, and the lease is with somebody else.
  const asked = await replica(t, { ...given, tls: { acme: { ...acme, httpPort: knocked } } });
  await redis.cli("del", lease);
  const orders = await replica(t, { ...given, tls: { acme: { ...acme, httpPort: elsewhere } } });
  await orders.metricIs("postern_acme_orders_total", 1, { outcome: "ok" });
  const ca = await pebble.root();
  const [ours, theirs] = await Promise.all(
    [orders, asked].map(({ imaps }) =>
      eventually("a certificate of the authority", () => visit(imaps, { ca }).catch(() => undefined), {
        timeoutMs: 20_000,
      }),
    ),
  );
  assert.equal(ours?.issued, theirs?.issued);
  assert.equal(await asked.metric("postern_acme_orders_total"), 0);
  const keys = await redis.cli("keys", "*");
  assert.match(keys, /shared:certificate:/);
  assert.doesNotMatch(keys, /shared:answer:|lease:/);
  for (const key of keys.split("\n")) assert.doesNotMatch(await redis.cli("get", key), /BEGIN|PRIVATE/);
});
