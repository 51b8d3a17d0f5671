import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { certificateAuthority } from "../support/certificates.ts";
import { within } from "../support/waiting.ts";
import { storeOf } from "./store.ts";
import { knock, tlsDoor } from "./tls-door.ts";

const authority = await certificateAuthority();
const usual = await authority.issue(["mail.example.org"]);
const proof = await authority.issue(["proof.mail.example.org"]);
const NAME = "mail.example.org";
const ACME = ["acme-tls/1"];

/** What a certification authority sees: the certificate, the protocol, and whether anything was said. */
async function ask(port: number, options: { servername?: string; ALPNProtocols?: string[] } = {}) {
  const socket = connectTls({
    port,
    host: "127.0.0.1",
    servername: NAME,
    ALPNProtocols: ACME,
    rejectUnauthorized: false,
    ...options,
  });
  let said = 0;
  socket.on("data", (chunk: Buffer) => {
    said += chunk.length;
  });
  await once(socket, "secureConnect");
  const seen = { name: socket.getPeerCertificate().subject.CN, alpn: socket.alpnProtocol };
  await within(3_000, "the door to close", once(socket, "close"));
  return { ...seen, said };
}

test("an authority that asks by acme-tls/1 gets its answer and nothing more; others get the usual", async (t) => {
  const store = storeOf(t, [usual]);
  const door = await tlsDoor(t, { store });
  const challenge = store.answerChallenge(NAME, proof);
  assert.deepEqual(await ask(door.port), { name: "proof.mail.example.org", alpn: "acme-tls/1", said: 0 });
  assert.deepEqual(door.outcomes, ["ChannelClosed"]);
  const other = await knock(t, door.port, { ca: authority.ca, servername: NAME, ALPNProtocols: ["imap"] });
  assert.equal(other.getPeerCertificate().subject.CN, NAME);
  challenge[Symbol.dispose]();
  await assert.rejects(ask(door.port), /no.application.protocol/i);
});

test("acme-tls/1 for another name, beside another protocol, or where STARTTLS is, is no challenge", async (t) => {
  const store = storeOf(t, [usual]);
  using _challenge = store.answerChallenge(NAME, proof);
  const door = await tlsDoor(t, { store });
  await assert.rejects(ask(door.port, { servername: "other.example.org" }), /no.application.protocol/i);
  const both = await knock(t, door.port, {
    ca: authority.ca,
    servername: NAME,
    ALPNProtocols: [...ACME, "imap"],
  });
  assert.deepEqual([both.alpnProtocol, both.getPeerCertificate().subject.CN], ["imap", NAME]);
  const starttls = await tlsDoor(t, { store, implicit: false });
  await assert.rejects(ask(starttls.port), /no.application.protocol/i);
});

test("a challenge can be answered before there is any certificate, and nobody else is served then", async (t) => {
  const store = storeOf(t, []);
  using _challenge = store.answerChallenge(NAME, proof);
  const door = await tlsDoor(t, { store });
  assert.equal((await ask(door.port)).name, "proof.mail.example.org");
  await assert.rejects(knock(t, door.port, { servername: NAME }));
});
