import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type RunningProcess, runProcess, startProcess } from "../support/processes.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
/** A command and the lines that continue it. */
const COMMAND = /^ {2}((?:curl|printf) .*(?:(?<=[|\\])\n.*)*)$/gm;

/** Its ports are a base and offsets; a base that is taken is said at once, and then another is tried. */
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

/** A letter as its reader sees it, with what the last server put on top. */
function letter(from: string, received: string, subject: string): RegExp {
  return new RegExp(
    `^Return-Path: <${from}>\r\nReceived: .*\r\n\t${received}.*\r\nFrom: ${from}\r\nTo: .*\r\nSubject: ${subject}\r\n\r\nHello!\r\n$`,
  );
}

test("what the demo prints to type works as printed, and Ctrl-C ends it in order", async () => {
  const { demo, screen } = await startDemo();
  await using running = demo;
  const commands = [...screen.matchAll(COMMAND)].map(([, command = ""]) => command);
  const answers: string[] = [];
  for (const command of commands) {
    const { code, stdout, stderr } = await runProcess("bash", ["-c", command]);
    assert.equal(code, 0, `${command}\n${stderr}`);
    answers.push(stdout);
  }
  const fromAlice = letter("alice@example.org", "by alpha with ESMTPA ", "Over the wall");
  const expected = [
    /Subject: Your mailbox lives on alpha/,
    /Subject: Your mailbox lives on beta/,
    /Subject: Your mailbox lives on alpha/,
    /^$/,
    fromAlice,
    fromAlice,
    /^$/,
    letter("zoe@harbour.example", "by alpha with ESMTP ", "From far away"),
    /^postern_logins_total\{listener="submission-\d+",outcome="ok"\} 1$/m,
  ];
  assert.equal(answers.length, expected.length, screen);
  for (const [index, pattern] of expected.entries())
    assert.match(answers[index] ?? "", pattern, commands[index]);

  running.signal("SIGINT");
  assert.deepEqual(await running.exited, { code: 0, signal: null });
});

test("in the demo, mail goes over implicit TLS too, and to nobody unknown by either door", async () => {
  const { demo, base } = await startDemo();
  await using _running = demo;
  const send = (door: string, to: string) =>
    runProcess("curl", ["-ks", door, "--mail-from", "alice@example.org", "--mail-rcpt", to, "-T", "-"], {
      input: "Subject: hi\r\n\r\nhi\r\n",
    });
  const submissions = `smtps://alice%40example.org:demo@127.0.0.1:${base + 465}`;
  const smtp = `smtp://127.0.0.1:${base + 25}`;
  assert.equal((await send(submissions, "bob@example.org")).code, 0);
  assert.equal((await send(smtp, "bob@example.org")).code, 0);
  // 55 is a refused recipient.
  assert.equal((await send(submissions, "carol@example.org")).code, 55);
  assert.equal((await send(smtp, "carol@example.org")).code, 55);
});

test("the demo says which port is taken and how to move all of them", async () => {
  const taken = createServer().listen(randomInt(24_000, 30_000), "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
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
