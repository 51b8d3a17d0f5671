import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type RunningProcess, runProcess, startProcess } from "../support/processes.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const COMMAND = /^ {2}(curl .*)$/gm;

/** Its ports are a base and three offsets; a base that is taken is said at once, and then another is tried. */
async function startDemo(): Promise<{ demo: RunningProcess; screen: string; base: number }> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const base = randomInt(11_000, 23_000);
    const demo = await startProcess(process.execPath, [MAIN, "demo", "--port-base", String(base)]);
    const [said] = await demo.waitFor(/Ctrl-C stops the demo\.|--port-base/);
    if (said.startsWith("Ctrl-C")) return { demo, screen: demo.output(), base };
    await demo.stop();
  }
  throw new Error("no free ports for the demo in 20 attempts");
}

test("what the demo prints to type works as printed, and Ctrl-C ends it in order", async () => {
  const { demo, screen } = await startDemo();
  await using running = demo;
  const commands = [...screen.matchAll(COMMAND)].map(([, command = ""]) => command);
  assert.equal(commands.length, 3, screen);

  const answers = await Promise.all(commands.map((command) => runProcess("bash", ["-c", command])));
  assert.match(answers[0]?.stdout ?? "", /Subject: Your mailbox lives on alpha/);
  assert.match(answers[1]?.stdout ?? "", /Subject: Your mailbox lives on beta/);
  assert.match(answers[2]?.stdout ?? "", /^postern_logins_total\{.*outcome="ok"\} 1$/m);

  running.signal("SIGINT");
  assert.deepEqual(await running.exited, { code: 0, signal: null });
});

test("the demo says which port is taken and how to move all of them", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const { code, stderr } = await runProcess(process.execPath, [
    MAIN,
    "demo",
    "--port-base",
    String(port - 143),
  ]);
  taken.close();
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`port ${port} is taken by another program`));
  assert.match(stderr, /--port-base/);
});
