import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { HashWorkers, type HashWorkersOptions } from "../../../src/auth/password/hash-workers.ts";
import { decoyPassword, type StoredPassword } from "../../../src/auth/password/stored-password.ts";
import { Refused } from "../../../src/refusal.ts";
import { eventually, PATIENCE_MS, within } from "../../support/waiting.ts";

const STORED = decoyPassword();
const PLAIN: StoredPassword = { scheme: "PLAIN", cost: "PLAIN", stored: "{PLAIN}secret" };
const REAL: StoredPassword = {
  scheme: "BLF-CRYPT",
  cost: "BLF-CRYPT 05",
  stored: "{BLF-CRYPT}$2a$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW",
};

function scripted(options: HashWorkersOptions): HashWorkers {
  return new HashWorkers({ worker: new URL("./scripted-worker.ts", import.meta.url), ...options });
}

function unavailable(detail: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof Refused);
    assert.equal(error.refusal.kind, "unavailable");
    assert.match(error.refusal.detail, detail);
    return true;
  };
}

/** Runs jobs whose end is not the point; whatever they end with is heard. */
function start(pool: HashWorkers, passwords: readonly string[]): Promise<PromiseSettledResult<boolean>[]> {
  return Promise.allSettled(passwords.map((password) => pool.verify(password, STORED)));
}

describe("the pool with its own worker", () => {
  test("tells right from wrong, in every scheme that needs a thread", async () => {
    await using pool = new HashWorkers({ threads: 2 });
    assert.equal(await pool.verify("Hello world!", REAL), true);
    assert.equal(await pool.verify("hello world!", REAL), false);
    assert.equal(await pool.verify("x", STORED), false);
  });

  test("starts no thread before the first job, nor for PLAIN", async () => {
    await using pool = new HashWorkers();
    assert.equal(await pool.verify("secret", PLAIN), true);
    assert.equal(await pool.verify("secreT", PLAIN), false);
    assert.equal(pool.stats.threads, 0);
  });

  test("a password of more than 1024 bytes is wrong, and costs nothing", async () => {
    await using pool = new HashWorkers();
    assert.equal(await pool.verify("☃".repeat(400), STORED), false);
    assert.equal(pool.stats.threads, 0);
  });

  test("does not keep a process alive that forgot it", async () => {
    const program = new URL("./forgotten-pool.ts", import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(process.execPath, [program], { timeout: 20_000 });
    assert.equal(stdout, "right: false");
  });
});

describe("the pool's bounds", () => {
  test("no more threads than it may have, all jobs done", async () => {
    await using pool = scripted({ threads: 2 });
    const jobs = start(
      pool,
      Array.from({ length: 50 }, (_, n) => (n % 2 ? "right" : "wrong")),
    );
    assert.deepEqual([pool.stats.threads, pool.stats.busy, pool.stats.waiting], [2, 2, 48]);
    const answers = await within(PATIENCE_MS, "50 answers", jobs);
    assert.deepEqual(
      answers.map((one) => one.status === "fulfilled" && one.value),
      Array.from({ length: 50 }, (_, n) => n % 2 === 1),
    );
    assert.equal(pool.stats.done, 50);
    assert.equal(pool.stats.threads, 2);
  });

  test("a full queue refuses at once", async () => {
    await using pool = scripted({ threads: 1, queueLimit: 2 });
    const jobs = start(pool, ["hang", "right", "right"]);
    await assert.rejects(pool.verify("right", STORED), unavailable(/more than 2 passwords/));
    await pool.close();
    await jobs;
  });

  test("a client that left frees its place in the queue", async () => {
    await using pool = scripted({ threads: 1, queueLimit: 1 });
    const jobs = start(pool, ["hang"]);
    const client = new AbortController();
    const left = pool.verify("right", STORED, client.signal);
    assert.equal(pool.stats.waiting, 1);
    client.abort();
    await assert.rejects(left, { name: "AbortError" });
    assert.equal(pool.stats.waiting, 0);
    await pool.close();
    await jobs;
  });

  test("a client that left before asking, or while its job runs, hears its own reason", async () => {
    await using pool = scripted({ threads: 1 });
    const client = new AbortController();
    const running = pool.verify("hang", STORED, client.signal);
    client.abort(new Error("gone"));
    await assert.rejects(running, { message: "gone" });
    await assert.rejects(pool.verify("right", STORED, client.signal), { message: "gone" });
    assert.equal(pool.stats.busy, 1, "the thread still works at what nobody waits for");
  });

  test("an idle thread ends", async () => {
    await using pool = scripted({ threads: 1, idleMs: 10 });
    assert.equal(await pool.verify("right", STORED), true);
    await eventually("the thread's end", () => pool.stats.threads === 0);
    assert.equal(await pool.verify("right", STORED), true, "and another takes its place");
  });

  test("hashes take nothing from the threads that files and name lookups use", async () => {
    await using pool = scripted({ threads: 8 });
    const jobs = start(
      pool,
      Array.from({ length: 8 }, () => "hang"),
    );
    assert.equal(pool.stats.busy, 8);
    await within(PATIENCE_MS, "a file read", readFile(import.meta.filename));
    await pool.close();
    await jobs;
  });
});

describe("the pool when things go wrong", () => {
  test("a stuck thread is replaced after the job's time", async () => {
    await using pool = scripted({ threads: 1, jobTimeoutMs: 1500 });
    const stuck = pool.verify("hang", STORED);
    const next = pool.verify("right", STORED);
    await assert.rejects(stuck, unavailable(/longer than 1500 ms/));
    assert.equal(await within(PATIENCE_MS, "the job behind the stuck one", next), true);
  });

  for (const [password, how] of [
    ["exit", "ends"],
    ["throw", "throws"],
  ] as const) {
    test(`a worker that ${how} fails its own job only`, async () => {
      await using pool = scripted({ threads: 1 });
      const dies = pool.verify(password, STORED);
      const next = pool.verify("right", STORED);
      await assert.rejects(dies, unavailable(/died/));
      assert.equal(await within(PATIENCE_MS, "the job behind it", next), true);
    });
  }

  test("a check that fails inside is an outage, not a wrong password", async () => {
    await using pool = scripted({ threads: 1 });
    await assert.rejects(pool.verify("fail", STORED), unavailable(/ON_PURPOSE/));
    assert.equal(await pool.verify("right", STORED), true);
  });

  test("a worker that cannot even start fails its job", async () => {
    await using pool = new HashWorkers({
      threads: 1,
      worker: new URL("./no-such-worker.ts", import.meta.url),
    });
    await assert.rejects(within(PATIENCE_MS, "a refusal", pool.verify("x", STORED)), unavailable(/died/));
  });

  test("close refuses what runs, what waits and what comes", async () => {
    const pool = scripted({ threads: 1 });
    const jobs = start(pool, ["hang", "right"]);
    await within(PATIENCE_MS, "close", pool.close());
    for (const one of await jobs) {
      assert.equal(one.status, "rejected");
      unavailable(/closed/)(one.reason);
    }
    await assert.rejects(pool.verify("right", STORED), unavailable(/closed/));
    assert.equal(pool.stats.threads, 0);
  });
});
