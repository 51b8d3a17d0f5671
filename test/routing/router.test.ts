import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused } from "../../src/refusal.ts";
import { createRouter, domainOf, type RouteRule } from "../../src/routing/router.ts";

const BACKENDS = ["north", "south", "pop-only"];
const serves = (backend: string, protocol: string): boolean =>
  (backend === "pop-only") === (protocol === "pop3");

const router = (rules: readonly RouteRule[], backends = BACKENDS) => createRouter(rules, backends, serves);
const noRoute = (error: unknown) => error instanceof Refused && error.refusal.kind === "noRoute";

test("the first rule that matches leads", () => {
  const { route } = router([
    { match: { user: ["alice@example.org"] }, to: "south" },
    { match: { domain: ["example.org", "Example.NET"] }, to: "north" },
    { match: { protocol: ["pop3"] }, to: "pop-only" },
    { match: { domain: ["example.org"] }, to: "south" },
  ]);
  for (const [user, protocol, backend] of [
    ["alice@example.org", "imap", "south"],
    ["ALICE@EXAMPLE.ORG", "imap", "south"],
    ["bob@example.org", "imap", "north"],
    ["bob@EXAMPLE.net", "imap", "north"],
    ["carol@elsewhere", "pop3", "pop-only"],
    ["carol", "pop3", "pop-only"],
    // The last "@" counts.
    ["x@example.com@example.org", "imap", "north"],
  ] as const) {
    assert.equal(route({ user }, protocol).backend, backend, user);
  }
});

for (const user of ["carol@elsewhere", "example.org", "", "alice@example.org.", "alice@sub.example.org"]) {
  test(`"${user}" matches no rule and is told so`, () => {
    assert.throws(
      () => router([{ match: { domain: ["example.org"] }, to: "north" }]).route({ user }, "imap"),
      noRoute,
    );
  });
}

test("all parts of a match must fit", () => {
  const { route } = router([{ match: { user: ["alice"], protocol: ["pop3"] }, to: "pop-only" }]);
  assert.equal(route({ user: "alice" }, "pop3").backend, "pop-only");
  assert.throws(() => route({ user: "alice" }, "imap"), noRoute);
  assert.throws(() => route({ user: "bob" }, "pop3"), noRoute);
});

test("a rule without a match takes everybody", () => {
  assert.equal(router([{ to: "north" }]).route({ user: "anybody" }, "imap").backend, "north");
  assert.equal(router([{ match: {}, to: "north" }]).route({ user: "anybody" }, "imap").backend, "north");
});

test("a single backend without any rule takes everybody; two do not", () => {
  assert.equal(router([], ["north"]).route({ user: "anybody" }, "imap").backend, "north");
  assert.throws(() => router([], ["north", "south"]).route({ user: "anybody" }, "imap"), noRoute);
  assert.throws(
    () => router([{ match: { user: ["alice"] }, to: "north" }], ["north"]).route({ user: "bob" }, "imap"),
    noRoute,
    "whoever writes rules means them",
  );
});

test("the backend that the source of users names goes before the rules", () => {
  const { route } = router([{ to: "north" }]);
  assert.equal(route({ user: "alice", backend: "south" }, "imap").backend, "south");
  assert.equal(router([]).route({ user: "alice", backend: "south" }, "imap").backend, "south");
});

test("a backend that is not configured, or lacks the protocol, is no route", () => {
  const { route } = router([{ match: { user: ["alice"] }, to: "pop-only" }]);
  assert.throws(() => route({ user: "bob", backend: "nowhere" }, "imap"), noRoute);
  assert.throws(() => route({ user: "alice" }, "imap"), noRoute);
});

for (const [template, user, login] of [
  ["{user}", "alice@example.org", "alice@example.org"],
  ["{local}", "alice@example.org", "alice"],
  ["{domain}\\{local}", "alice@example.org", "example.org\\alice"],
  ["{local}%{domain}", "a@b@example.org", "a@b%example.org"],
  ["{local}", "alice", "alice"],
  ["x-{domain}", "alice", "x-"],
  // What a user is called is not a template.
  ["{user}", "{local}@$&", "{local}@$&"],
  ["{local}+{nobody}", "alice@example.org", "alice+{nobody}"],
] as const) {
  test(`loginAs ${template} makes ${login} of ${user}`, () => {
    assert.deepEqual(router([{ to: "north", loginAs: template }]).route({ user }, "imap"), {
      backend: "north",
      login,
    });
  });
}

test("the name at the backend: the source's own, else the rule's, else the user's", () => {
  const { route } = router([{ to: "north", loginAs: "{local}" }]);
  const user = "alice@example.org";
  assert.equal(route({ user, login: "al" }, "imap").login, "al");
  assert.equal(route({ user }, "imap").login, "alice");
  assert.equal(route({ user, backend: "north" }, "imap").login, "alice");
  assert.equal(
    route({ user, backend: "south" }, "imap").login,
    user,
    "a rule that leads elsewhere has no say",
  );
});

test("the domain is what stands behind the last @", () => {
  assert.deepEqual(["a@b", "a@b@c", "a", "@", "a@"].map(domainOf), ["b", "c", "", "", ""]);
});
