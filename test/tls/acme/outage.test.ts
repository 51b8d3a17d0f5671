import assert from "node:assert/strict";
import { test } from "node:test";
import { listenForChallenges } from "../../../src/tls/acme/http-challenge.ts";
import { orderCertificate } from "../../../src/tls/acme/order.ts";
import { certificateAuthority } from "../../support/certificates.ts";
import { startPebble } from "../../support/pebble.ts";
import { freePort } from "../../support/ports.ts";
import { bench, MINUTE, NAME } from "./renewer-kit.ts";

test("an authority that is down at the start is asked again, and its certificate used when it is back", async (t) => {
  const port = await freePort();
  const authority = await certificateAuthority();
  await using challenger = await listenForChallenges({ port: 0, host: "127.0.0.1" });
  const directory = `https://127.0.0.1:${port}/dir`;
  const settings = { directory, email: "a@example.org", domains: [NAME], keyType: "ecdsa" as const };
  const { clock, used, told, start } = await bench(t, {
    order: (accountKey, signal) =>
      orderCertificate({ settings, ca: authority.ca, accountKey, challenger, signal }),
  });
  (await start()).renew();
  await clock.pass(6 * MINUTE);
  assert.equal(told.length, 2);
  assert.match(told[0] ?? "", /^cannot ask 127\.0\.0\.1:\d+: .*ECONNREFUSED/);
  assert.deepEqual(used, ["own"]);
  await using _pebble = await startPebble({ port, authority, httpPort: challenger.port });
  await clock.pass(10 * MINUTE);
  assert.equal(told.at(-1), "ok");
  assert.match(used.at(-1) ?? "", /BEGIN CERTIFICATE/);
});
