import assert from "node:assert/strict";
import { copyFile, cp, mkdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { runProcess } from "./processes.ts";

/** What a Dockerfile makes, in a folder instead of an engine's storage. */
export interface Image {
  /** What its file system holds, beside that of the base image. */
  readonly root: string;
  readonly base: string;
  workdir: string;
  readonly env: Record<string, string>;
  readonly labels: Record<string, string>;
  /** The last word on each of the other instructions: USER, EXPOSE, ENTRYPOINT, CMD … */
  readonly says: Record<string, string>;
}

/**
 * Follows the Dockerfile of a folder, step by step, without an engine. FROM begins an empty folder with nothing but
 * Node in it; COPY takes only what .dockerignore lets through; RUN runs on this machine, with the image's WORKDIR as
 * its own. Nothing is a chroot: a RUN that is to be followed names no absolute path.
 */
export async function buildImage(context: string, into: string): Promise<Image> {
  const allowed = await letThrough(context);
  const stages = new Map<string, Image>();
  let image: Image | undefined;
  for (const { name, text } of instructions(await readFile(join(context, "Dockerfile"), "utf8"))) {
    if (name === "FROM") {
      const [base = "", , alias = `stage-${stages.size}`] = text.split(/\s+/);
      image = await emptyImage(join(into, alias), base);
      stages.set(alias, image);
      continue;
    }
    assert.ok(image, `${name} before FROM`);
    if (name === "WORKDIR") await enter(image, text);
    else if (name === "COPY") await copy(image, text, { context, allowed, stages });
    else if (name === "RUN") await run(image, text);
    else if (name === "ENV") Object.assign(image.env, pairs(text));
    else if (name === "LABEL") Object.assign(image.labels, pairs(text));
    else image.says[name] = text;
  }
  assert.ok(image, "no FROM");
  return image;
}

/** The words of the JSON form; the shell form would put a shell between the gateway and its signals. */
export function execForm(text = ""): string[] {
  return JSON.parse(text.slice(text.indexOf("["))) as string[];
}

/** A path inside the image, as it is called outside. */
export function outside(image: Image, path: string): string {
  return join(image.root, resolve(image.workdir, path));
}

function instructions(text: string): { name: string; text: string }[] {
  const joined = text.replace(/^\s*#.*\n/gm, "").replace(/\\\n/g, " ");
  return [...joined.matchAll(/^([A-Z]+)\s+(.*)$/gm)].map(([, name = "", rest = ""]) => ({
    name,
    text: rest.replace(/\s+/g, " ").trim(),
  }));
}

/** The names that .dockerignore excepts from `*`: the whole context, for a build. */
async function letThrough(context: string): Promise<string[]> {
  const lines = (await readFile(join(context, ".dockerignore"), "utf8")).split("\n");
  assert.equal(lines.filter((line) => /^[^#!]/.test(line)).join(), "*");
  return lines.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
}

async function emptyImage(root: string, base: string): Promise<Image> {
  const bin = join(root, "usr/local/bin");
  await mkdir(bin, { recursive: true });
  // A copy: whoever the image runs as may not get to where the tests' own Node lies.
  await copyFile(process.execPath, join(bin, "node"));
  return { root, base, workdir: "/", env: {}, labels: {}, says: {} };
}

async function enter(image: Image, path: string): Promise<void> {
  image.workdir = resolve(image.workdir, path);
  await mkdir(outside(image, "."), { recursive: true });
}

interface Sources {
  readonly context: string;
  readonly allowed: readonly string[];
  readonly stages: ReadonlyMap<string, Image>;
}

async function copy(image: Image, text: string, { context, allowed, stages }: Sources): Promise<void> {
  const words = text.split(" ");
  const from = /^--from=(.+)$/.exec(words[0] ?? "")?.[1];
  const paths = from === undefined ? words : words.slice(1);
  const target = paths.pop() ?? "";
  for (const path of paths) {
    const stage = from === undefined ? undefined : stages.get(from);
    assert.ok(from === undefined ? allowed.includes(path) : stage, `COPY ${text}: not in the build context`);
    const source = stage ? outside(stage, path) : join(context, path);
    // A folder's content is copied, a file goes into a folder that ends in a slash.
    const into =
      target.endsWith("/") && !(await stat(source)).isDirectory() ? join(target, basename(path)) : target;
    await mkdir(dirname(outside(image, into)), { recursive: true });
    await cp(source, outside(image, into), { recursive: true, verbatimSymlinks: true });
  }
}

async function run(image: Image, command: string): Promise<void> {
  assert.doesNotMatch(command, /(^|\s)\//, "an absolute path would be this machine's");
  const done = await runProcess("sh", ["-c", command], {
    name: command,
    cwd: outside(image, "."),
    env: { ...surroundings(image), ...image.env },
    timeoutMs: 180_000,
  });
  assert.equal(done.code, 0, `${command}\n${done.stdout}${done.stderr}`);
}

/** This machine's environment without what its own npm and test runner put in: the image has its own Node, no more. */
function surroundings(image: Image): NodeJS.ProcessEnv {
  const own = Object.keys(process.env).filter(
    (name) => /^(npm_|NODE_)/.test(name) && !/registry|cache/.test(name),
  );
  const path = (process.env["PATH"] ?? "").split(":").filter((folder) => !folder.includes("node_modules"));
  return {
    ...Object.fromEntries(own.map((name) => [name, undefined])),
    PATH: [join(image.root, "usr/local/bin"), ...path].join(":"),
    npm_config_prefer_offline: "true",
  };
}

function pairs(text: string): Record<string, string> {
  const found = text.matchAll(/([\w.]+)=(?:"([^"]*)"|(\S+))/g);
  return Object.fromEntries([...found].map(([, name = "", quoted, bare]) => [name, quoted ?? bare ?? ""]));
}
