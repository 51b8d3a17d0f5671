import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { type TestContext, test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import { promisify } from "node:util";
import type { FailureCause } from "../../src/tls/failure.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { storeOf } from "./store.ts";
import { knock, tlsDoor } from "./tls-door.ts";

const authority = await certificateAuthority();
const NAME = "mail.example.org";
const certificate = await authority.issue([NAME]);
const other = await authority.issue(["other.example.org"]);

// With one certificate nothing is read before TLS begins, with two the hello is: the causes are the same.
for (const pairs of [[certificate], [certificate, other]]) {
  const with_ = `with ${pairs.length} of certificates`;

  for (const [bytes, cause] of [
    ["a LOGIN alice secret\r\n", "notTls"],
    ["EHLO client.example.org\r\n", "notTls"],
    ["USER alice\r\n", "notTls"],
    ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "notTls"],
    ["CONNECT x:25 HTTP/1.1\r\n\r\n", "notTls"],
  ] as const) {
    test(`${with_}: ${JSON.stringify(bytes.slice(0, 14))} is ${cause}`, (t) =>
      expectCause(t, pairs, cause, (port) => say(t, port, bytes)));
  }

  for (const [what, options, cause] of [
    ["h2", { ALPNProtocols: ["h2"] }, "alpn"],
    ["TLS 1.1", { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" }, "nothingShared"],
    ["no cipher of ours", { maxVersion: "TLSv1.2", ciphers: "AES128-SHA" }, "nothingShared"],
    ["no group of ours", { ecdhCurve: "secp521r1" }, "nothingShared"],
  ] as const satisfies readonly [string, ConnectionOptions, FailureCause][]) {
    test(`${with_}: ${what} is ${cause}`, (t) =>
      expectCause(t, pairs, cause, async (port) => {
        await assert.rejects(knock(t, port, { ca: authority.ca, servername: NAME, ...options }));
      }));
  }

  // Node's client says nothing when it does not believe; others send the alert that there is for it.
  test(`${with_}: our certificate not believed is refusedByClient`, (t) =>
    expectCause(t, pairs, "refusedByClient", async (port) => {
      const words = ["s_client", "-verify_return_error"];
      await promisify(execFile)("openssl", [...words, "-connect", `127.0.0.1:${port}`]).catch(() => {});
    }));

  test(`${with_}: silence, and half a hello, are timeouts`, (t) =>
    expectCause(t, pairs, "timeout", (port) => say(t, port, Buffer.from("16030100c8010000", "hex")), 100));

  test(`${with_}: who leaves has closed`, (t) =>
    expectCause(t, pairs, "closedByClient", async (port) => {
      const client = connectTcp({ port, host: "127.0.0.1" });
      await once(client, "connect");
      client.destroy();
    }));
}

async function expectCause(
  t: TestContext,
  pairs: readonly { cert: string; key: string }[],
  cause: FailureCause,
  visit: (port: number) => Promise<void>,
  deadlineMs = 3_000,
): Promise<void> {
  const door = await tlsDoor(t, { store: storeOf(t, pairs), deadlineMs });
  await visit(door.port);
  await door.settled(1);
  assert.deepEqual(door.causes, [cause]);
}

/** Says something that is not TLS, and waits until the door has had enough of it. */
async function say(t: TestContext, port: number, bytes: string | Buffer): Promise<void> {
  const client = connectTcp({ port, host: "127.0.0.1" });
  t.after(() => client.destroy());
  client.on("error", () => {}).resume();
  client.write(bytes);
  await once(client, "close");
}
