import assert from "node:assert/strict";
import { test } from "node:test";
import type { SecureContext } from "node:tls";
import { TicketSecret } from "../../src/tls/tickets.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { storeOf } from "./store.ts";

const authority = await certificateAuthority();
const first = await authority.issue(["mail.example.org", "both.example.net"]);
const wild = await authority.issue(["*.example.net"]);
const exact = await authority.issue(["imap.example.net", "both.example.net"]);

const LISTENER = "imaps";

test("an exact name goes before a wildcard, and the earlier certificate before the later", (t) => {
  const store = storeOf(t, [first, wild, exact]);
  const of = (name?: string) => store.contextFor(LISTENER, name);
  assert.equal(of("imap.example.net"), of("IMAP.Example.NET"));
  assert.notEqual(of("imap.example.net"), of("pop.example.net"));
  assert.notEqual(of("pop.example.net"), of("mail.example.org"));
  assert.equal(of("both.example.net"), of("mail.example.org"));
  // RFC 6125 6.4.3: one label, and the leftmost.
  assert.equal(of("a.b.example.net"), of());
  assert.equal(of("example.net"), of());
  assert.equal(of(".example.net"), of());
});

test("files come before ACME, and ACME before the one for trying out, whoever was there first", (t) => {
  const store = storeOf(t, []);
  assert.equal(store.empty, true);
  assert.equal(store.contextFor(LISTENER), undefined);
  store.setPairs("selfSigned", [wild]);
  const own = store.contextFor(LISTENER);
  store.setPairs("acme", [exact]);
  const acme = store.contextFor(LISTENER);
  store.setPairs("files", [first]);
  assert.deepEqual(
    Array.from(store, ({ origin, name }) => `${origin} ${name}`),
    ["files mail.example.org", "acme imap.example.net", "selfSigned *.example.net"],
  );
  assert.notEqual(own, acme);
  assert.notEqual(store.contextFor(LISTENER), acme);
  assert.equal(store.contextFor(LISTENER, "imap.example.net"), acme);
  assert.equal(store.contextFor(LISTENER, "x.example.net"), own);
});

test("a change of one certificate leaves the contexts of the others as they are", (t) => {
  const store = storeOf(t, [first, wild]);
  const before = store.contextFor(LISTENER);
  store.setPairs("files", [{ ...first }, exact]);
  assert.equal(store.contextFor(LISTENER), before);
});

test("a pair that is none changes nothing", async (t) => {
  const store = storeOf(t, [first, wild]);
  const before = store.contextFor(LISTENER);
  // The authority of a test has one key for all that it issues.
  const stranger = await (await certificateAuthority("Another")).issue(["mail.example.org"]);
  assert.throws(() => store.setPairs("files", [{ cert: first.cert, key: stranger.key }]), /mismatch/);
  assert.throws(() => store.setPairs("files", [wild, { cert: "nothing", key: first.key }]));
  assert.equal(store.contextFor(LISTENER), before);
});

test("one context for a listener and a certificate, made once, and new ones when the secret turns", (t) => {
  const tickets = new TicketSecret();
  const store = storeOf(t, [first, wild], {}, tickets);
  const all = (): (SecureContext | undefined)[] => [
    store.contextFor("imaps", "mail.example.org"),
    store.contextFor("imaps", "x.example.net"),
    store.contextFor("pop3s", "mail.example.org"),
  ];
  const before = all();
  assert.equal(new Set(before).size, 3);
  assert.deepEqual(all(), before);
  tickets.rotate();
  assert.equal(new Set([...before, ...all()]).size, 6);
});

test("a challenge is there until it is disposed of, or a newer one has taken its place", (t) => {
  const store = storeOf(t, []);
  assert.equal(store.challenged, false);
  const early = store.answerChallenge("Mail.example.org", first);
  assert.ok(store.challengeFor("mail.example.ORG"));
  assert.equal(store.challengeFor("other.example.org"), undefined);
  const later = store.answerChallenge("mail.example.org", first);
  early[Symbol.dispose]();
  assert.ok(store.challengeFor("mail.example.org"));
  later[Symbol.dispose]();
  assert.equal(store.challengeFor("mail.example.org"), undefined);
  assert.equal(store.empty, true);
});
