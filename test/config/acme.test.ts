import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const folder = newFolder({ hook: "#!/bin/sh\n", text: "hello", "ca.pem": "hello" });
chmodSync(`${folder}/hook`, 0o755);
const path = `${folder}/postern.yaml`;

/** A file whose `tls.acme` has these lines beside the three that it must have. */
function withAcme(
  lines: string[] = [],
  more: Record<string, string> = {},
  domains = "[mail.example.org]",
): string {
  const acme = ["directory: https://ca.example/dir", "email: a@example.org", `domains: ${domains}`, ...lines];
  return fileWith({ tls: ["tls:", "  acme:", ...acme.map((line) => `    ${line}`)].join("\n"), ...more });
}

const problemsOf = (text: string) => linesOf(parseConfig(text, path, {}), "problems");
const IMPLICIT = { listeners: "listeners: [{ protocol: imap, port: 993, tls: implicit }]" };

test("three lines are enough, and they are a certificate for the listeners", () => {
  const { tls } = mustLoad(withAcme(), path);
  assert.deepEqual(tls.acme, {
    directory: "https://ca.example/dir",
    email: "a@example.org",
    domains: ["mail.example.org"],
    challenge: "http-01",
    keyType: "ecdsa",
    renewBefore: 30 * 86_400_000,
  });
});

test("a hook's path is relative to the file, its arguments are as written", () => {
  const lines = ["challenge: dns-01", "dnsHook: [hook, --zone, ./example.org]"];
  const { tls } = mustLoad(withAcme(lines, {}, '["*.example.org", example.org]'), path);
  assert.deepEqual(tls.acme?.dnsHook, [`${folder}/hook`, "--zone", "./example.org"]);
});

for (const [what, text, problem] of [
  [
    "a wildcard without dns-01",
    withAcme([], {}, '["*.example.org"]'),
    /:5:15: tls\.acme\.domains\[0\]: is a wildcard, and http-01 cannot prove one/,
  ],
  ["dns-01 without a hook", withAcme(["challenge: dns-01"]), /:6:16: tls\.acme\.challenge: needs dnsHook/],
  [
    "a hook without dns-01",
    withAcme(["dnsHook: [hook]"]),
    /:6:5: tls\.acme\.dnsHook: is for dns-01, and the challenge is http-01/,
  ],
  [
    "a hook that cannot be run",
    withAcme(["challenge: dns-01", "dnsHook: [text]"]),
    /:7:14: tls\.acme\.dnsHook: is not a program that can be run/,
  ],
  ["a hook of nothing", withAcme(["challenge: dns-01", "dnsHook: []"]), /:7:14: tls\.acme\.dnsHook/],
  [
    "a port without http-01",
    withAcme(["challenge: tls-alpn-01", "httpPort: 8080"], IMPLICIT),
    /:7:5: tls\.acme\.httpPort: is for http-01, and the challenge is tls-alpn-01/,
  ],
  [
    "tls-alpn-01 without implicit TLS",
    withAcme(["challenge: tls-alpn-01"]),
    /:6:16: tls\.acme\.challenge: needs a listener with implicit TLS/,
  ],
  [
    "a port that a listener has",
    withAcme(["httpPort: 1143"]),
    /:6:15: tls\.acme\.httpPort: is taken by the listener imap-1143/,
  ],
  [
    "a port that the admin has",
    withAcme(["httpPort: 8025"]),
    /:6:15: tls\.acme\.httpPort: is taken by the listener admin/,
  ],
  [
    "a directory in clear text",
    withAcme().replace("https:", "http:"),
    /:3:16: tls\.acme\.directory: .*https/,
  ],
  [
    "a directory with a password",
    withAcme().replace("//ca", "//user:secret@ca"),
    /:3:16: tls\.acme\.directory/,
  ],
  ["an address that is none", withAcme().replace("a@example.org", "postmaster"), /:4:12: tls\.acme\.email/],
  [
    "an address with a line break",
    withAcme().replace("a@example.org", '"a@example.org\\nb"'),
    /tls\.acme\.email/,
  ],
  ["no domains", withAcme([], {}, "[]"), /:5:14: tls\.acme\.domains/],
  [
    "a domain in capitals",
    withAcme([], {}, "[Mail.example.org]"),
    /:5:15: tls\.acme\.domains\[0\].*lower case/,
  ],
  ["an address instead of a name", withAcme([], {}, "[192.0.2.1]"), /:5:15: tls\.acme\.domains\[0\]/],
  ["a path instead of a name", withAcme([], {}, '["../../etc"]'), /:5:15: tls\.acme\.domains\[0\]/],
  ["a star inside a name", withAcme([], {}, '["mail.*.org"]'), /:5:15: tls\.acme\.domains\[0\]/],
  ["a domain twice", withAcme([], {}, "[a.example, a.example]"), /tls\.acme\.domains/],
  [
    "a challenge that nobody knows",
    withAcme(["challenge: dns-02"]),
    /:6:16: tls\.acme\.challenge: .*dns-02.*http-01, tls-alpn-01, dns-01/,
  ],
  ["authorities that are none", withAcme(["ca: ca.pem"]), /:6:9: tls\.acme\.ca: /],
  ["a renewal that is no time", withAcme(["renewBefore: 0s"]), /:6:18: tls\.acme\.renewBefore/],
  ["an unknown key", withAcme(["staging: true"]), /:6:5: tls\.acme\.staging/],
  ["a binding without its key", withAcme(["eab: { kid: k }"]), /:6:10: tls\.acme\.eab/],
] as const) {
  test(`${what} is told with its place`, () => {
    const problems = problemsOf(text);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0] ?? "", problem);
  });
}

test("a key for account binding that is none is told without showing it", () => {
  const problems = problemsOf(withAcme(["eab: { kid: k, hmacKey: not/base64url }"]));
  assert.match(problems.join(), /tls\.acme\.eab\.hmacKey: is not a key in base64url/);
  assert.doesNotMatch(problems.join(), /not\/base64url/);
});

test("tls-alpn-01 on another port than 443 is a warning: the authority knows no other", () => {
  const warnings = (listeners: string) =>
    linesOf(parseConfig(withAcme(["challenge: tls-alpn-01"], { listeners }), path, {}), "warnings").join();
  assert.match(warnings(IMPLICIT.listeners), /port 443 of these names leads to the listener imap-993/);
  assert.equal(warnings("listeners: [{ protocol: imap, port: 443, tls: implicit }]"), "");
});
