import assert from "node:assert/strict";
import { test } from "node:test";
import { Extensions, ehloLines, maxSize } from "../../../src/protocols/smtp/extensions.ts";
import { parseMail } from "../../../src/protocols/smtp/grammar.ts";
import { submission } from "../../../src/protocols/smtp/index.ts";
import type { Frontend, Session } from "../../../src/session/session.ts";
import { socketPair } from "../../io/loopback.ts";
import { frontend, sessionOn } from "../../session/stub-session.ts";

const FULL = [
  "PIPELINING",
  "SIZE 1000",
  "8BITMIME",
  "SMTPUTF8",
  "DSN",
  "ENHANCEDSTATUSCODES",
  "CHUNKING",
  "ETRN",
  "VRFY",
];
const SMALL = ["size 70000000", "pipelining", "8bitmime", "AUTH PLAIN login", "XCLIENT ADDR"];

async function withSession(more: Partial<Frontend>, see: (session: Session) => void): Promise<void> {
  using pair = await socketPair();
  see(sessionOn(pair.near, { protocol: submission, ...more }));
}

const lines = (session: Session, backends: readonly string[][], offer = { auth: true, startTls: true }) =>
  ehloLines(
    session,
    backends.map((each) => new Extensions(each)),
    offer,
  );

test("EHLO offers what we carry and every backend takes, and no more", () =>
  withSession({}, (session) => {
    assert.deepEqual(lines(session, [FULL]), [
      "door.example.org",
      "PIPELINING",
      "8BITMIME",
      "SMTPUTF8",
      "DSN",
      "ENHANCEDSTATUSCODES",
      "CHUNKING",
      "SIZE 1000",
      "AUTH PLAIN LOGIN",
    ]);
    assert.deepEqual(lines(session, [FULL, SMALL]), [
      "door.example.org",
      "PIPELINING",
      "8BITMIME",
      "SIZE 1000",
      "AUTH PLAIN LOGIN",
    ]);
    assert.deepEqual(lines(session, [FULL, []], { auth: false, startTls: false }), ["door.example.org"]);
    assert.deepEqual(lines(session, []), ["door.example.org", "AUTH PLAIN LOGIN"]);
  }));

test("a password is not asked for before TLS, and TLS is offered where it can begin", () =>
  withSession(
    {
      requireTls: true,
      tls: {
        wrap: () => {
          throw new Error("nobody began TLS");
        },
      },
    },
    (session) => {
      assert.deepEqual(lines(session, [["PIPELINING"]]), ["door.example.org", "PIPELINING", "STARTTLS"]);
    },
  ));

test("SIZE is the smallest of all, and a backend's 0 or nonsense is none", () =>
  withSession({ content: { ...frontend().content, maxMessageSize: 5_000 } }, (session) => {
    const size = (...backends: string[][]) =>
      maxSize(
        session,
        backends.map((each) => new Extensions(each)),
      );
    assert.equal(size(["SIZE 1000"], ["SIZE 2000"]), 1_000);
    assert.equal(size(["SIZE 6000"]), 5_000);
    for (const none of ["SIZE", "SIZE 0", "SIZE 1e3", "SIZE -1", "SIZE x"])
      assert.equal(size([none]), 5_000, none);
    assert.deepEqual(lines(session, [["SIZE 0"]], { auth: false, startTls: false }), [
      "door.example.org",
      "SIZE 5000",
    ]);
  }));

test("a parameter is taken where the backend has its extension, and never otherwise", () => {
  const takes = (backend: readonly string[], parameters: string): boolean => {
    const envelope = parseMail(`FROM:<a@b> ${parameters}`);
    assert.ok(envelope, parameters);
    return new Extensions(backend).takes(envelope);
  };
  const table: readonly [string, string][] = [
    ["SIZE=1", "SIZE"],
    ["BODY=8BITMIME", "8BITMIME"],
    ["BODY=7BIT", "8BITMIME"],
    ["SMTPUTF8", "SMTPUTF8"],
    ["RET=FULL", "DSN"],
    ["ENVID=x", "DSN"],
    ["NOTIFY=NEVER", "DSN"],
    ["ORCPT=rfc822;a", "DSN"],
    ["AUTH=<>", "AUTH"],
  ];
  for (const [parameter, extension] of table) {
    assert.equal(takes([extension], parameter), true, parameter);
    assert.equal(takes([], parameter), false, parameter);
    assert.equal(
      takes(
        FULL.filter((name) => !name.startsWith(extension)),
        parameter,
      ),
      false,
      parameter,
    );
  }
  for (const parameter of [
    "BODY=BINARYMIME",
    "BODY=binarymime",
    "XRCPTFORWARD=x",
    "constructor=1",
    "toString",
    "HOLDFOR=1",
  ])
    assert.equal(takes([...FULL, "BINARYMIME", "constructor", "FUTURERELEASE"], parameter), false, parameter);
});

test("mechanisms are read in both spellings", () => {
  assert.deepEqual(new Extensions(["AUTH plain LOGIN"]).mechanisms, ["PLAIN", "LOGIN"]);
  assert.deepEqual(new Extensions(["AUTH=PLAIN LOGIN"]).mechanisms, ["PLAIN", "LOGIN"]);
  assert.deepEqual(new Extensions(["AUTH"]).mechanisms.filter(Boolean), []);
  assert.deepEqual(new Extensions([]).mechanisms, []);
});

test("item 46: a line of spaces offers nothing", () => {
  const backend = new Extensions(["", "   ", "PIPELINING"]);
  assert.equal(backend.has("PIPELINING"), true);
  assert.equal(backend.maxSize, undefined);
});
