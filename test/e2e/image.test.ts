import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { connect } from "../support/conversation.ts";
import { buildImage, execForm, type Image, outside } from "../support/dockerfile.ts";
import { freePorts } from "../support/ports.ts";
import { runProcess, startProcess } from "../support/processes.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Only root can become the image's user. */
const skip = process.getuid?.() === 0 ? false : "needs root";

test("the Dockerfile's steps, followed in clean folders, make a gateway that is no root and writes nowhere", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  const image = await buildImage(ROOT, folder.path);

  const { dependencies, devDependencies, version } = JSON.parse(
    await readFile(outside(image, "package.json"), "utf8"),
  ) as Record<"dependencies" | "devDependencies", object> & { version: string };
  const modules = await readdir(outside(image, "node_modules"));
  for (const name of Object.keys(dependencies)) assert.ok(modules.includes(name), `${name} is missing`);
  for (const name of Object.keys(devDependencies))
    assert.ok(!modules.includes(name), `${name} is in the image`);
  assert.equal((await inside(image, ["--version"])).stdout, `${version}\n`);

  const hashed = await inside(image, ["hash"], "pw\n");
  assert.equal(hashed.code, 0, hashed.stderr);

  await using backend = await startScriptedBackend({ tls: "none" });
  const [port = 0, adminPort = 0] = await freePorts(2);
  await writeInside(image, "/etc/postern/users.yaml", {
    "alice@example.org": { password: hashed.stdout.trim() },
  });
  await writeInside(image, "/etc/postern/postern.yaml", {
    dataDir: outside(image, "/var/lib/postern"),
    tls: { selfSigned: true },
    listeners: [{ protocol: "imap", port, tls: "implicit" }],
    authentication: { sources: [{ type: "file", path: "users.yaml" }] },
    backends: { store: { host: "127.0.0.1", tls: "none", protocols: { imap: backend.port } } },
    routes: [{ to: "store" }],
    admin: { port: adminPort },
  });
  const [command = "", ...args] = asItsUser(image, [...entrypoint(image), ...execForm(image.says["CMD"])]);
  await using gateway = await startProcess(command, args, { name: "gateway in its image", ...place(image) });
  const health = () => {
    const [program = "", ...words] = asItsUser(image, execForm(image.says["HEALTHCHECK"]));
    return runProcess(program, [...words, "--port", `${adminPort}`], place(image));
  };
  await eventually(
    () => `the image to be healthy\n${gateway.output()}`,
    async () => gateway.running && (await health()).code === 0,
    { everyMs: 200 },
  );

  // Neither root nor any capability, and a login by way of the threads that only the built files have.
  const status = await readFile(`/proc/${gateway.pid}/status`, "utf8");
  assert.match(status, /^Uid:\t10001\t10001\t10001\t10001$/m);
  assert.match(status, /^CapEff:\t0+$/m);
  await using client = await connect({ host: "127.0.0.1", port, tls: { rejectUnauthorized: false } });
  await client.expect("* OK ");
  await client.send("a LOGIN alice@example.org pw");
  await client.expectUntil("a OK ");

  gateway.signal(image.says["STOPSIGNAL"] as NodeJS.Signals);
  await client.expectUntil("* BYE ");
  assert.deepEqual(await gateway.exited, { code: 0, signal: null }, gateway.output());
  assert.equal((await health()).code, 1);
  assert.deepEqual(await ownedBy(10_001, tmpdir()), []);
  assert.deepEqual(await ownedBy(10_001, dirname(outside(image, "/var/lib/postern"))), ["postern"]);
});

/** The image's entry point with these arguments, to its end. */
function inside(image: Image, args: readonly string[], input = "") {
  const [command = "", ...words] = asItsUser(image, [...entrypoint(image), ...args]);
  return runProcess(command, words, { ...place(image), input });
}

function entrypoint(image: Image): string[] {
  return execForm(image.says["ENTRYPOINT"]);
}

/** As `docker run --cap-drop ALL --security-opt no-new-privileges` has it, with paths as they are called outside. */
function asItsUser(image: Image, words: readonly string[]): string[] {
  const [user, group] = (image.says["USER"] ?? "").split(":");
  const rights = ["--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all", "--no-new-privs"];
  const paths = words.map((word) => (word.startsWith("/") ? outside(image, word) : word));
  // The parent-death signal does not survive the change of the user.
  return ["setpriv", "--reuid", `${user}`, "--regid", `${group}`, ...rights, "--pdeathsig", "TERM", ...paths];
}

function place(image: Image) {
  const env = { ...image.env, NODE_OPTIONS: undefined, NODE_TEST_CONTEXT: undefined, HOME: "/nonexistent" };
  const path = `${outside(image, "/usr/local/bin")}:${process.env["PATH"]}`;
  return { cwd: outside(image, "."), env: { ...env, PATH: path } };
}

async function writeInside(image: Image, path: string, content: object): Promise<void> {
  await mkdir(dirname(outside(image, path)), { recursive: true });
  await writeFile(outside(image, path), JSON.stringify(content));
}

async function ownedBy(uid: number, folder: string): Promise<string[]> {
  const owned = await Promise.all(
    // What other tests take away meanwhile is nobody's.
    (await readdir(folder)).map(
      async (name) => (await stat(join(folder, name)).catch(() => undefined))?.uid === uid && name,
    ),
  );
  return owned.filter((name) => name !== false);
}

test("what the image says of itself is what an engine and an operator need", async () => {
  const text = await readFile(join(ROOT, "Dockerfile"), "utf8");
  const { engines } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
    engines: { node: string };
  };
  const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base);
  assert.deepEqual(new Set(bases).size, 1, "built and run on the same base");
  assert.equal(/^node:(\d+)-/.exec(bases[0] ?? "")?.[1], /\d+/.exec(engines.node)?.[0]);
  const exposed = /^EXPOSE (.*)$/m.exec(text)?.[1]?.split(" ").map(Number) ?? [];
  assert.ok(
    exposed.length > 1 && exposed.every((port) => port > 1_023),
    "no capability is needed to bind them",
  );
  assert.match(text, /^USER \d+:\d+$/m);
  for (const label of ["title", "description", "licenses", "version", "revision"]) {
    assert.ok(text.includes(`org.opencontainers.image.${label}=`), label);
  }
});
