import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { effectiveText } from "../../src/config/effective.ts";
import { parseConfig } from "../../src/config/load.ts";
import { policyServer } from "../../src/config/policy-server.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const folder = newFolder({ "ca.pem": "hello", nonce: "from a file\n" });
const path = `${folder}/postern.yaml`;

const withHooks = (...hooks: readonly object[]) =>
  fileWith({ policy: `policy: ${JSON.stringify({ hooks })}` });
const wf = (more: object = {}) => ({
  type: "authPolicy",
  name: "wf",
  url: "https://wf.internal/",
  nonce: "n",
  ...more,
});
const pf = (more: object = {}) => ({ type: "postfixPolicy", name: "pf", server: "127.0.0.1:10023", ...more });

test("a hook with defaults is asked as Dovecot and Postfix would ask", () => {
  const file = withHooks(wf({ nonce: { file: "nonce" } }), pf({ server: "unix:/run/policy" }));
  assert.deepEqual(mustLoad(file, path).policy.hooks, [
    {
      ...wf({ nonce: "from a file" }),
      insecure: false,
      hashMech: "sha256",
      hashTruncate: 12,
      checkBefore: true,
      checkAfter: true,
      report: true,
      maxDelay: 15_000,
      timeout: 2_000,
      onFailure: "allow",
      match: {},
    },
    {
      ...pf({ server: "unix:/run/policy" }),
      stages: ["rcpt"],
      timeout: 5_000,
      onFailure: "refuse",
      match: {},
    },
  ]);
});

test("its secrets are in no dump", () => {
  const secrets = { nonce: "swordfish-1", apiKey: "swordfish-2", user: "wforce", password: "swordfish-3" };
  const dump = effectiveText(withHooks(wf(secrets), pf()));
  assert.doesNotMatch(dump, /swordfish/);
  assert.match(dump, /nonce: "?\*\*\*/);
});

const PROBLEMS: Readonly<Record<string, readonly [string, RegExp]>> = {
  "http to another machine": [
    withHooks(wf({ url: "http://wf.internal:8084/" })),
    /policy\.hooks\[0\]\.url: would ask over the network in clear text.*insecure: true/,
  ],
  "a password in the URL": [
    withHooks(wf({ url: "https://wforce:x@wf.internal/" })),
    /hooks\[0\]\.url: .*without user and password/,
  ],
  "another scheme": [withHooks(wf({ url: "ftp://wf.internal/" })), /hooks\[0\]\.url/],
  "no nonce": [
    withHooks({ type: "authPolicy", name: "wf", url: "https://wf.internal/" }),
    /hooks\[0\].*nonce/,
  ],
  "another kind": [withHooks({ type: "milter", name: "m" }), /hooks\[0\]\.type/],
  "an unknown key": [withHooks(pf({ url: "https://x/" })), /hooks\[0\]\.url/],
  "half of Basic": [withHooks(wf({ user: "wforce" })), /lacks a half: user and password/],
  "a key that would be two headers": [
    withHooks(wf({ apiKey: "a\r\nb: c" })),
    /apiKey: cannot be sent in a header/,
  ],
  "a hook that is never asked": [
    withHooks(wf({ checkBefore: false, checkAfter: false, report: false })),
    /is never asked/,
  ],
  "a broken authority": [withHooks(wf({ ca: "ca.pem" })), /hooks\[0\]\.ca/],
  "two of one name": [
    withHooks(wf(), pf({ name: "wf" })),
    /hooks\[1\]\.name: is the name of an earlier hook too/,
  ],
  "no port": [withHooks(pf({ server: "policy.internal" })), /hooks\[0\]\.server: .*HOST:PORT/],
  "a time of minutes": [withHooks(pf({ timeout: "2m" })), /hooks\[0\]\.timeout: .*at most 10s/],
  "a protocol that has no mail": [
    withHooks(pf({ match: { protocol: "imap" } })),
    /match\.protocol: is nothing that this could be asked about.*submission, smtp/,
  ],
  "a listener that is none": [
    withHooks(wf({ match: { listener: "door" } })),
    /match\.listener: is not the name/,
  ],
};

for (const [what, [text, problem]] of Object.entries(PROBLEMS))
  test(`${what} is a problem`, () => {
    const lines = linesOf(parseConfig(text, path, {}), "problems");
    assert.ok(
      lines.some((line) => problem.test(line)),
      lines.join("\n"),
    );
  });

test("clear text is warned of where it is allowed, and on this machine it is nothing", () => {
  const warned = withHooks(
    wf({ url: "http://wf.internal/", insecure: true }),
    pf({ server: "policy.internal:10023" }),
  );
  const lines = linesOf(parseConfig(warned, path, {}), "warnings");
  assert.equal(
    lines.filter((line) => /over the network in clear text/.test(line)).length,
    2,
    lines.join("\n"),
  );
  const fine = withHooks(
    wf({ url: "http://[::1]:8084/?command=x" }),
    pf(),
    pf({ name: "p2", server: "unix:/run/p" }),
  );
  assert.deepEqual(linesOf(parseConfig(fine, path, {}), "warnings"), []);
});

test("a wait that no login could outlast is warned of", () => {
  const lines = linesOf(parseConfig(withHooks(wf({ maxDelay: "60s" })), path, {}), "warnings");
  assert.match(lines.join(), /hooks\[0\]\.maxDelay: is as long as timeouts\.login/);
});

test("where a policy server is, is read strictly", () => {
  assert.deepEqual(policyServer("policy.internal:10023"), { host: "policy.internal", port: 10_023 });
  assert.deepEqual(policyServer("[::1]:10023"), { host: "::1", port: 10_023 });
  assert.deepEqual(policyServer("unix:/run/policy"), { path: "/run/policy" });
  for (const text of [
    "",
    ":10023",
    "h:0",
    "h:65536",
    "h:1/x",
    "u@h:1",
    "unix:policy",
    "unix:",
    "inet:h:1",
    "h:x",
  ])
    assert.equal(policyServer(text), undefined, text);
});

test("what the example shows in comments loads", () => {
  const text = readFileSync(new URL("../../config/postern.yaml", import.meta.url), "utf8");
  const [shown = ""] = /^ {2}# hooks:.*\n(?: {2}# .*\n)+/m.exec(text) ?? [];
  const hooks = shown.replace(/^( {2})# /gm, "$1").replace(/\{ file: \/run.* \}/g, "text");
  const config = mustLoad(fileWith({ policy: `policy:\n${hooks.replace(/^ *ca: .*\n/m, "")}` }), path);
  assert.deepEqual(
    config.policy.hooks.map(({ name }) => name),
    ["wforce", "greylist"],
  );
});
