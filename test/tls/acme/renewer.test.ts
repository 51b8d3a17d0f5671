import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { OrderFailed } from "../../../src/tls/acme/order.ts";
import type { Lease } from "../../../src/tls/acme/renewer.ts";
import { temporaryFolder } from "../../support/temp.ts";
import { eventually, within } from "../../support/waiting.ts";
import { bench, certificate, DAY, HOUR, MINUTE } from "./renewer-kit.ts";

const never = async (): Promise<never> => assert.fail("nothing is to be ordered");
const fails = async (): Promise<never> => {
  throw new OrderFailed("no");
};

test("a certificate that is there is used at once, and renewed when a third of its life is left", async (t) => {
  const [old, fresh] = [await certificate(30 * DAY), await certificate(90 * DAY)];
  const { clock, folder, used, orders, start } = await bench(t, { order: async () => fresh });
  await folder.writeCertificate(old);
  const acme = await start();
  assert.deepEqual(used, [old.cert]);
  acme.renew();
  // It lives for 40 days, of which ten are over.
  await clock.pass(16 * DAY);
  assert.deepEqual(orders, []);
  await clock.pass(DAY);
  assert.equal(orders.length, 1);
  assert.deepEqual(used, [old.cert, fresh.cert]);
  assert.equal((await folder.readCertificate())?.cert, fresh.cert);
});

test("without a certificate clients see a temporary one, until the first one comes", async (t) => {
  const fresh = await certificate();
  const { clock, used, told, start } = await bench(t, { order: async () => fresh });
  const acme = await start();
  assert.deepEqual(used, ["own"]);
  acme.renew();
  await clock.idle();
  assert.deepEqual([used, told], [["own", fresh.cert], ["ok"]]);
});

test("nothing is ordered before the gateway can answer the authority", async (t) => {
  const { used, start } = await bench(t, { order: never });
  await start();
  assert.deepEqual(used, ["own"]);
});

test("a certificate that lacks a name of the configuration is used while the next one is ordered", async (t) => {
  const [old, fresh] = [await certificate(), await certificate(30 * DAY, ["a.example", "b.example"])];
  const { clock, folder, used, start } = await bench(t, {
    order: async () => fresh,
    domains: ["a.example", "b.example"],
  });
  await folder.writeCertificate(old);
  (await start()).renew();
  await clock.idle();
  assert.deepEqual(used, [old.cert, fresh.cert]);
});

test("failures: pauses of five minutes at least, doubled up to half a day, and told once", async (t) => {
  const { clock, orders, told, start } = await bench(t, { order: fails });
  (await start()).renew();
  await clock.pass(3 * DAY);
  const pauses = orders.slice(1).map((at, index) => (at - (orders[index] ?? 0)) / MINUTE);
  assert.deepEqual(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 720, 720, 720, 720]);
  assert.deepEqual(told.slice(0, 3), ["no", "(no)", "(no)"]);
});

test("failures: another reason is news, and a success begins anew", async (t) => {
  const answers = ["no", "no", "never"];
  const { clock, orders, told, start } = await bench(t, {
    order: async () => {
      if (orders.length === 4) return certificate(90 * DAY);
      throw new OrderFailed(answers.shift() ?? "no");
    },
  });
  (await start()).renew();
  await clock.pass(HOUR);
  assert.deepEqual(told, ["no", "(no)", "never", "ok"]);
  await clock.pass(70 * DAY);
  const [fourth = 0, fifth = 0, sixth = 0] = orders.slice(3);
  assert.ok(fifth - fourth > 50 * DAY);
  assert.equal(sixth - fifth, 5 * MINUTE);
});

test("failures: chance makes pauses longer, never shorter", async (t) => {
  const { clock, orders, start } = await bench(t, { order: fails });
  (await start({ luck: () => 1 })).renew();
  await clock.pass(30 * MINUTE);
  assert.deepEqual(orders, [0, 7.5 * MINUTE, 22.5 * MINUTE]);
});

test("what the authority asks to wait is waited, across a restart too", async (t) => {
  const { clock, orders, start } = await bench(t, {
    order: async () => {
      throw new OrderFailed("too many", 3 * HOUR);
    },
  });
  const acme = await start();
  acme.renew();
  await clock.pass(HOUR);
  await acme[Symbol.asyncDispose]();
  (await start()).renew();
  await clock.pass(1.9 * HOUR);
  assert.deepEqual(orders, [0]);
  await clock.pass(0.1 * HOUR);
  assert.deepEqual(orders, [0, 3 * HOUR]);
});

test("a gateway that starts again and again does not hammer: five minutes after a failure, not at once", async (t) => {
  const { clock, orders, start } = await bench(t, { order: fails });
  for (let starts = 0; starts < 4; starts++) {
    const acme = await start();
    acme.renew();
    await clock.pass(MINUTE);
    await acme[Symbol.asyncDispose]();
  }
  assert.deepEqual(orders, [0]);
});

test("a process that dies in an order is remembered; a stop in an order is not held against the next start", async (t) => {
  const asked = Promise.withResolvers<void>();
  const { folder, told, start } = await bench(t, {
    order: (_key, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        asked.resolve();
      }),
  });
  const acme = await start();
  acme.renew();
  await within(5_000, "an order", asked.promise);
  assert.match((await folder.readFailure())?.reason ?? "", /ended during the order/);
  await acme[Symbol.asyncDispose]();
  assert.equal(await folder.readFailure(), undefined);
  assert.deepEqual(told, []);
});

test("what could not be kept is not ordered", async (t) => {
  const { clock, folder, told, start } = await bench(t, { order: never });
  await mkdir(`${folder.path}/failed.json.new`);
  (await start()).renew();
  await clock.idle();
  assert.match(String(told), /failed\.json\.new/);
});

test("a certificate that no client could be shown takes the place of nothing", async (t) => {
  const [old, fresh] = [await certificate(DAY), await certificate()];
  const { clock, folder, told, start } = await bench(t, { order: async () => fresh });
  await folder.writeCertificate(old);
  const use = ({ cert }: { cert: string }) => {
    if (cert === fresh.cert) throw new Error("OpenSSL does not like it");
  };
  (await start({ use })).renew();
  await clock.idle();
  assert.deepEqual(told, ["OpenSSL does not like it"]);
  assert.equal((await folder.readCertificate())?.cert, old.cert);
});

test("a certificate that is due as it comes is a failure, not an endless round", async (t) => {
  const { clock, orders, told, start } = await bench(t, { order: () => certificate(DAY) });
  (await start()).renew();
  await clock.pass(40 * MINUTE);
  assert.deepEqual(orders, [0, 5 * MINUTE, 15 * MINUTE, 35 * MINUTE]);
  assert.match(told[0] ?? "", /clock/);
});

test("a broken file is told of, and a new certificate ordered", async (t) => {
  const fresh = await certificate();
  const { clock, folder, used, broken, start } = await bench(t, { order: async () => fresh });
  await writeFile(folder.certificatePath, fresh.key.slice(0, 300));
  (await start()).renew();
  await clock.idle();
  assert.deepEqual(used, ["own", fresh.cert]);
  assert.ok(broken.length > 0);
});

test("another process takes up what one has renewed, by watching the file", async (t) => {
  await using place = await temporaryFolder();
  const fresh = await certificate();
  const renewing = await bench(t, { order: async () => fresh, dataDir: place.path });
  const watching = await bench(t, { order: never, dataDir: place.path });
  await watching.start();
  (await renewing.start()).renew();
  await eventually("the other process to use it", () => watching.used.includes(fresh.cert));
});

test("with a lease one of two orders; the other one takes the certificate up and orders nothing", async (t) => {
  await using place = await temporaryFolder();
  const fresh = await certificate();
  const release = Promise.withResolvers<void>();
  let holder: string | undefined;
  const leaseOf = (who: string): Lease => ({
    async acquire() {
      if (holder !== undefined) return undefined;
      holder = who;
      return {
        async [Symbol.asyncDispose]() {
          holder = undefined;
        },
      };
    },
  });
  const ordered = Promise.withResolvers<void>();
  const one = await bench(t, {
    dataDir: place.path,
    order: async () => {
      ordered.resolve();
      await release.promise;
      return fresh;
    },
  });
  const other = await bench(t, { order: never, dataDir: place.path });
  (await one.start({ lease: leaseOf("one") })).renew();
  await within(5_000, "an order", ordered.promise);
  (await other.start({ lease: leaseOf("other") })).renew();
  await other.clock.pass(10 * MINUTE);
  assert.equal(holder, "one");
  release.resolve();
  await one.clock.idle();
  assert.equal(holder, undefined);
  await other.clock.pass(10 * MINUTE);
  assert.ok(other.used.includes(fresh.cert));
});

test("a lease that cannot be asked for is a failure like another", async (t) => {
  const { clock, told, start } = await bench(t, { order: never });
  const lease: Lease = {
    acquire: async () => {
      throw new Error("the store is gone");
    },
  };
  (await start({ lease })).renew();
  await clock.pass(6 * MINUTE);
  assert.deepEqual(told, ["the store is gone", "(the store is gone)"]);
});

test("after a success nothing but the account and the certificate is left", async (t) => {
  const fresh = await certificate();
  const { clock, folder, start } = await bench(t, { order: async () => fresh });
  (await start()).renew();
  await clock.idle();
  assert.deepEqual((await readdir(folder.path)).toSorted(), ["account.key", "mail.example.org.pem"]);
});
