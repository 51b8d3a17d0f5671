import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const folder = newFolder({ "ca.pem": "hello", password: "from a file\n" });
const path = `${folder}/postern.yaml`;
const SECRET = "0123456789abcdef0123456789abcdef";

/** A file with this store, and what else is said of the cluster. */
const withStore = (store: string, more = "") => fileWith({ policy: `policy:\n  store: ${store}\n${more}` });
const storeOf = (store: string) => mustLoad(withStore(store), path).policy.store;

test("the store is memory, or Redis as one URL or as a mapping", () => {
  assert.equal(storeOf("memory"), "memory");
  assert.deepEqual(storeOf("redis://127.0.0.1:6379/0"), { redis: { url: "redis://127.0.0.1:6379/0" } });
  assert.deepEqual(storeOf('{ redis: { nodes: ["127.0.0.1:1", "[::1]:2"], timeout: 50ms, prefix: mail } }'), {
    redis: { nodes: ["127.0.0.1:1", "[::1]:2"], timeout: 50, prefix: "mail" },
  });
  assert.deepEqual(
    storeOf('{ redis: { sentinels: ["127.0.0.1:1"], name: mail, password: { file: password } } }'),
    { redis: { sentinels: ["127.0.0.1:1"], name: "mail", password: "from a file" } },
  );
});

test("without a store that others see, nothing is shared and nothing is said", () => {
  assert.deepEqual(linesOf(parseConfig(withStore("memory"), path, {}), "warnings"), []);
  const quiet = withStore("redis://127.0.0.1:6379", `clusterSecret: ${SECRET}\n`);
  assert.deepEqual(linesOf(parseConfig(quiet, path, {}), "warnings"), []);
});

for (const [what, text, warning] of [
  ["no clusterSecret", withStore("redis://127.0.0.1"), /policy\.store: shares counters only/],
  [
    "clear text over the network",
    withStore("redis://valkey.internal", `clusterSecret: ${SECRET}\n`),
    /policy\.store: sends names and counters over the network in clear text/,
  ],
  [
    "any certificate",
    withStore(
      "{ redis: { url: rediss://valkey.internal, tls: { insecure: true } } }",
      `clusterSecret: ${SECRET}\n`,
    ),
    /tls\.insecure: believes any certificate/,
  ],
] as const)
  test(`${what} is warned of`, () => {
    const warnings = linesOf(parseConfig(text, path, {}), "warnings");
    assert.equal(warnings.length, 1, warnings.join("\n"));
    assert.match(String(warnings[0]), warning);
  });

for (const [what, text, problem] of [
  ["another scheme", withStore("http://127.0.0.1"), /policy\.store: is not valid here/],
  ["a database that is no number", withStore("redis://127.0.0.1/mail"), /policy\.store: is not valid here/],
  ["no place", withStore("{ redis: {} }"), /says not where it is/],
  ["two places", withStore('{ redis: { url: "redis://h", nodes: ["h:1"] } }'), /says twice where it is/],
  [
    "Sentinels without a name",
    withStore('{ redis: { sentinels: ["h:1"] } }'),
    /sentinels and name go together/,
  ],
  [
    "a database in a Cluster",
    withStore('{ redis: { nodes: ["h:1"], db: 2 } }'),
    /db: is nothing that a Cluster has/,
  ],
  ["a place without a port", withStore("{ redis: { nodes: [h] } }"), /nodes\[0\]/],
  ["an authority that is none", withStore("{ redis: { url: rediss://h, tls: { ca: ca.pem } } }"), /tls\.ca/],
  ["a command's time of a minute", withStore("{ redis: { url: redis://h, timeout: 1m } }"), /timeout/],
  [
    "a short secret",
    withStore("memory", "clusterSecret: short\n"),
    /clusterSecret: is too short: 5 characters/,
  ],
] as const)
  test(`${what} is refused`, () => {
    const problems = linesOf(parseConfig(text, path, {}), "problems");
    assert.match(problems.join("\n"), problem);
  });

test("what a URL holds is never repeated", () => {
  for (const store of ["redis://:hunter2@127.0.0.1/mail", "{ redis: { url: 'http://:hunter2@h' } }"])
    assert.doesNotMatch(linesOf(parseConfig(withStore(store), path, {}), "problems").join("\n"), /hunter2/);
});
