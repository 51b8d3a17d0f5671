import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { PassThrough, Readable } from "node:stream";
import { describe, test } from "node:test";
import { parseStored } from "../../src/auth/password/stored-password.ts";
import { type HashOptions, hash } from "../../src/cli/hash.ts";
import { eventually, PATIENCE_MS, within } from "../support/waiting.ts";

const CHEAP: HashOptions = { scheme: "blf-crypt", rounds: 4 };

/** Runs it with something piped in. */
async function piped(options: HashOptions, input: string | Buffer | readonly Buffer[]) {
  const chunks = Array.isArray(input) ? input : [Buffer.from(input as string)];
  return run(options, Readable.from(chunks));
}

/** Runs it at a make-believe terminal on which this is typed, and tells what raw mode went through. */
async function typed(options: HashOptions, ...keys: readonly (string | Buffer)[]) {
  const raw: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => raw.push(on) });
  for (const key of keys) stdin.write(key);
  return { raw, ...(await run(options, stdin)) };
}

async function run(options: HashOptions, stdin: Readable) {
  const out: string[] = [];
  const err: string[] = [];
  const io = {
    stdin,
    stdout: { write: (text: string) => out.push(text) },
    stderr: { write: (text: string) => err.push(text) },
  };
  const code = await within(PATIENCE_MS, "an exit code", hash(options, io));
  return { code, out: out.join(""), err: err.join("") };
}

function assertIsHashOf(password: string, printed: string): void {
  assert.match(printed, /^\{[A-Z0-9-]+\}[^\n]+\n$/);
  const parsed = parseStored(printed.trimEnd());
  assert.ok("matches" in parsed, JSON.stringify(parsed));
  assert.equal(parsed.matches(password), true);
}

describe("postern hash in a pipe", () => {
  test("prints the hash of the first line, and nothing else, on stdout", async () => {
    for (const input of ["secret ☃\n", "secret ☃", "secret ☃\r\nmore\n"]) {
      const { code, out, err } = await piped(CHEAP, input);
      assert.deepEqual([code, err], [0, ""]);
      assert.match(out, /^\{BLF-CRYPT\}\$2y\$04\$/);
      assertIsHashOf("secret ☃", out);
    }
  });

  test("makes argon2id unless told otherwise", async () => {
    const { out } = await piped({}, "secret\n");
    assert.match(out, /^\{ARGON2ID\}\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    assertIsHashOf("secret", out);
  });

  test("takes a password that comes in pieces, even within a character", async () => {
    const bytes = Buffer.from("☃☃\n");
    const { out } = await piped(CHEAP, [bytes.subarray(0, 1), bytes.subarray(1, 5), bytes.subarray(5)]);
    assertIsHashOf("☃☃", out);
  });

  for (const [what, options, input] of [
    ["an empty password", CHEAP, "\n"],
    ["no password", CHEAP, ""],
    ["bytes that are no text", CHEAP, Buffer.from([0xe9, 10])],
    ["an endless line", CHEAP, "x".repeat(100_000)],
    ["a password with a TAB", CHEAP, "a\tb"],
    ["a password that no login could have", { scheme: "SHA512-CRYPT", rounds: 1000 }, "x".repeat(1025)],
    ["a password that bcrypt would cut", CHEAP, "x".repeat(73)],
    ["an unknown scheme", { scheme: "MD5" }, "secret\n"],
    ["too much work", { scheme: "SHA512-CRYPT", rounds: 2 ** 31 }, "secret\n"],
    ["work that is no number", { ...CHEAP, rounds: Number.NaN }, "secret\n"],
    ["rounds of PLAIN", { scheme: "PLAIN", rounds: 3 }, "secret\n"],
    ["a hash to verify that is none", { verify: "nonsense" }, "secret\n"],
  ] as const) {
    test(`refuses ${what}`, async () => {
      const { code, out, err } = await piped(options, input);
      assert.deepEqual([code, out], [2, ""]);
      assert.match(err, /^postern hash: .+\n$/);
      assert.ok(!err.includes("secret"));
    });
  }

  test("--verify tells right from wrong by the exit code", async () => {
    const { out } = await piped(CHEAP, "secret\n");
    const verify = out.trimEnd();
    const codes = [await piped({ verify }, "secret\n"), await piped({ verify }, "Secret\n")].map(
      ({ code }) => code,
    );
    assert.deepEqual(codes, [0, 1]);
  });
});

describe("postern hash at a terminal", () => {
  test("asks twice on stderr, in raw mode, and leaves it", async () => {
    const { code, out, err, raw } = await typed(CHEAP, "sec", "ret\r", "secret\r");
    assert.equal(code, 0);
    assert.equal(err, "New password: \nOnce more: \n");
    assert.deepEqual(raw, [true, false]);
    assertIsHashOf("secret", out);
  });

  test("takes both answers from one paste", async () => {
    assertIsHashOf("secret", (await typed(CHEAP, "secret\nsecret\n")).out);
  });

  test("serves backspace, Ctrl-U, and characters of many bytes", async () => {
    const snow = Buffer.from("☃");
    const { out } = await typed(
      CHEAP,
      "wrong\u0015x☃\u007f\u007f\u007fs",
      snow.subarray(0, 1),
      snow.subarray(1),
      "\ts\b!\r",
      "s☃!\r",
    );
    assertIsHashOf("s☃!", out);
  });

  test("refuses two that differ, an empty one, and the end of input", async () => {
    for (const keys of [["one\rtwo\r"], ["\r"], ["\u0004"]]) {
      const { code, out, raw } = await typed(CHEAP, ...keys);
      assert.deepEqual([code, out, raw], [2, "", [true, false]]);
    }
  });

  test("is interrupted by Ctrl-C at either question", async () => {
    for (const keys of [["sec\u0003"], ["secret\rse\u0003"]]) {
      const { code, out, raw } = await typed(CHEAP, ...keys);
      assert.deepEqual([code, out, raw], [130, "", [true, false]]);
    }
  });
});

/** A process under util-linux's `script`, which gives it a real terminal. */
class Terminal {
  shown = "";
  readonly #script: ChildProcess;

  constructor(...options: readonly string[]) {
    const program = new URL("./hash-program.ts", import.meta.url).pathname;
    const command = [process.execPath, program, ...options].join(" ");
    this.#script = spawn("script", ["--quiet", "--return", "--command", command, "/dev/null"]);
    this.#script.stdout?.on("data", (chunk: Buffer) => {
      this.shown += chunk.toString();
    });
  }

  async type(afterSeeing: string, keys: string): Promise<void> {
    await eventually(
      () => `the prompt ${afterSeeing} (there is ${JSON.stringify(this.shown)})`,
      () => this.shown.includes(afterSeeing),
    );
    this.#script.stdin?.write(keys);
  }

  async exitCode(): Promise<number> {
    const [code] = await within(PATIENCE_MS, "the end of the process", once(this.#script, "close"));
    return code;
  }
}

describe("postern hash at a real terminal", () => {
  test("never shows the password", async () => {
    const terminal = new Terminal("--scheme", "blf-crypt", "--rounds", "4");
    await terminal.type("New password: ", "seX\u007fcret\r");
    await terminal.type("Once more: ", "secret\r");
    assert.equal(await terminal.exitCode(), 0);
    assert.ok(
      !/se|X|cret/.test(terminal.shown.replace("New password: ", "").replace(/\{.*/s, "")),
      terminal.shown,
    );
    assertIsHashOf("secret", `${/\{BLF-CRYPT\}\S+/.exec(terminal.shown)?.[0]}\n`);
  });

  test("is interrupted by Ctrl-C", async () => {
    const terminal = new Terminal();
    await terminal.type("New password: ", "\u0003");
    assert.equal(await terminal.exitCode(), 130);
  });
});
