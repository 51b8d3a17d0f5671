import assert from "node:assert/strict";
import { test } from "node:test";
import { serviceManager } from "../../src/supervisor/notify.ts";
import { listenForNotify } from "../support/notify-socket.ts";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";

const noProblem = (problem: string) => assert.fail(problem);
const PATH = process.env["PATH"];

test("systemd hears of start, reload, status and stop, in order, by a path", async () => {
  await using folder = await temporaryFolder();
  await using socket = await listenForNotify(folder.at("notify"));
  await using manager = serviceManager({ NOTIFY_SOCKET: socket.name, PATH }, noProblem);
  const before = await monotonic();
  await manager.ready("serving");
  await manager.reloading();
  await manager.ready("serving again");
  await manager.status("7 sessions\nMAINPID=1");
  await manager.stopping(300_000);
  const [ready, reloading, again, status, stopping] = socket.told();
  assert.deepEqual(ready, { READY: "1", STATUS: "serving" });
  assert.equal(reloading?.["RELOADING"], "1");
  const at = Number(reloading?.["MONOTONIC_USEC"]);
  assert.ok(before <= at && at <= (await monotonic()), "by the clock that systemd reads");
  assert.deepEqual(again, { READY: "1", STATUS: "serving again" });
  assert.deepEqual(status, { STATUS: "7 sessions\\u{a}MAINPID=1" }, "a text assigns nothing");
  assert.equal(stopping?.["STOPPING"], "1");
  assert.equal(stopping?.["EXTEND_TIMEOUT_USEC"], "330000000");
});

test("an abstract socket is one as well", async () => {
  await using socket = await listenForNotify(`@postern-test-notify-${process.pid}`);
  await using manager = serviceManager({ NOTIFY_SOCKET: socket.name, PATH }, noProblem);
  await manager.ready("serving");
  assert.deepEqual(socket.told(), [{ READY: "1", STATUS: "serving" }]);
});

test("the watchdog hears of a loop that turns, well within its period", async () => {
  await using folder = await temporaryFolder();
  await using socket = await listenForNotify(folder.at("notify"));
  const env = {
    NOTIFY_SOCKET: socket.name,
    WATCHDOG_USEC: "600000",
    WATCHDOG_PID: String(process.pid),
    PATH,
  };
  await using _manager = serviceManager(env, noProblem);
  // Its timer alone keeps no process alive; the wait for it does.
  await socket.hears("a ping", ({ WATCHDOG }) => WATCHDOG === "1");
});

test("a thousand messages at once are a few, and the last word of each kind stands", async () => {
  await using folder = await temporaryFolder();
  await using socket = await listenForNotify(folder.at("notify"));
  await using manager = serviceManager({ NOTIFY_SOCKET: socket.name, PATH }, noProblem);
  await Promise.all(Array.from({ length: 1_000 }, (_, at) => manager.status(`${at} sessions`)));
  assert.ok(socket.told().length <= 2, `${socket.told().length} datagrams`);
  assert.deepEqual(socket.told().at(-1), { STATUS: "999 sessions" });
});

test("a watchdog that is another process's gets no pings from us, and without systemd there are none", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const watchdog = { WATCHDOG_USEC: "30000000" };
  for (const env of [watchdog, { ...watchdog, NOTIFY_SOCKET: "/nowhere", WATCHDOG_PID: "1", PATH }]) {
    // Nobody listens there: a ping would be a problem.
    await using _manager = serviceManager(env, noProblem);
    t.mock.timers.tick(60_000);
  }
});

test("a socket that is gone, or a system without systemd-notify, is a problem told and nothing worse", async () => {
  await using folder = await temporaryFolder();
  for (const path of [PATH, folder.path]) {
    const problems: string[] = [];
    await using manager = serviceManager({ NOTIFY_SOCKET: folder.at("gone"), PATH: path }, (problem) => {
      problems.push(problem);
    });
    await manager.ready("serving");
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", /^systemd was not told: .*systemd-notify/);
  }
});

/** The kernel's monotonic clock in microseconds, asked of another program. */
async function monotonic(): Promise<number> {
  const { stdout } = await runProcess("python3", ["-c", "import time; print(time.monotonic_ns() // 1000)"]);
  return Number(stdout);
}
