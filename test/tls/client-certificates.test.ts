import assert from "node:assert/strict";
import { after, describe, type TestContext, test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import type { ClientFacts } from "../../src/io/channel.ts";
import type { ListenerTls } from "../../src/tls/frontend.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { within } from "../support/waiting.ts";
import { type ClientCertificate, openClientAuthority } from "./client-authority.ts";
import { makeOwn, openWorkshop, P256 } from "./openssl.ts";
import { storeOf } from "./store.ts";
import { knock, type TlsDoor, tlsDoor } from "./tls-door.ts";

const NAME = "mail.example.org";
const servers = await certificateAuthority();
const ours = await servers.issue([NAME]);
const authority = openClientAuthority();
const stranger = openClientAuthority("Stranger");
after(() => {
  authority[Symbol.dispose]();
  stranger[Symbol.dispose]();
});

const alice = authority.issue("Alice", { names: "email:Alice@example.org", usage: "clientAuth" });
const mallory = authority.issue("Mallory", { names: "email:mallory@example.org" });
authority.revoke(mallory);
const clients = { ca: authority.ca, crl: authority.crl() };

type Clients = NonNullable<ListenerTls["clients"]>;

function doorOf(
  t: TestContext,
  more: Partial<Clients> = {},
  believed: { ca: string; crl?: string } = clients,
): Promise<TlsDoor> {
  const asked: Clients = { certificate: "optional", name: "email", ...more };
  return tlsDoor(t, { store: storeOf(t, [ours], { clients: believed }), clients: asked });
}

interface Visit {
  readonly facts: ClientFacts | undefined;
  readonly session: Buffer;
  readonly resumed: boolean;
}

async function visit(
  t: TestContext,
  door: TlsDoor,
  certificate?: ClientCertificate,
  options: ConnectionOptions = {},
): Promise<Visit> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const all = { ca: servers.ca, servername: NAME, ...certificate, ...options };
  const socket = await knock(t, door.port, all, (client) => client.once("session", resolve));
  const resumed = socket.isSessionReused();
  const session = resumed ? Buffer.alloc(0) : await within(3_000, "a session", promise);
  socket.destroy();
  const facts = door.facts.at(-1);
  assert.equal(facts?.resumed, resumed);
  return { facts: facts?.client, session, resumed };
}

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
  describe(maxVersion, () => {
    const only = { maxVersion };

    test("who shows a good certificate is known by it, again when the session is resumed", async (t) => {
      const door = await doorOf(t);
      const known = { verified: true, commonName: "Alice", names: ["alice@example.org"] };
      const first = await visit(t, door, alice, only);
      assert.deepEqual(first.facts, known);
      const again = await visit(t, door, alice, { ...only, session: first.session });
      assert.deepEqual([again.resumed, again.facts], [true, known]);
    });

    test("who shows none is welcome, unknown, and stays so when the session is resumed", async (t) => {
      const door = await doorOf(t);
      const first = await visit(t, door, undefined, only);
      assert.equal(first.facts, undefined);
      const again = await visit(t, door, undefined, { ...only, session: first.session });
      assert.deepEqual([again.resumed, again.facts], [true, undefined]);
      // Whatever the client would show now: the session knows no certificate.
      const later = await visit(t, door, alice, { ...only, session: first.session });
      assert.equal(later.facts?.verified ?? false, !later.resumed);
    });

    // Item 94.
    for (const [what, [certificate, fault]] of Object.entries(badCertificates())) {
      test(`a certificate that is ${what} is not believed, at first or resumed; where one must be, TLS ends`, async (t) => {
        const door = await doorOf(t);
        const first = await visit(t, door, certificate, only);
        assert.deepEqual([first.facts?.verified, first.facts?.fault], [false, fault]);
        const again = await visit(t, door, certificate, { ...only, session: first.session });
        assert.equal(again.facts?.verified, false);
        const strict = await doorOf(t, { certificate: "required" });
        await assert.rejects(visit(t, strict, certificate, only));
        await strict.settled(1);
        assert.deepEqual(strict.causes, ["clientCertificate"]);
      });
    }

    test("where a certificate must be, who shows none hears so, and a good one comes in", async (t) => {
      const door = await doorOf(t, { certificate: "required" });
      await assert.rejects(visit(t, door, undefined, only), /alert|closed/i);
      await door.settled(1);
      assert.deepEqual(door.causes, ["clientCertificate"]);
      assert.equal((await visit(t, door, alice, only)).facts?.verified, true);
    });

    test("a session of a client that has been revoked since is not resumed", async (t) => {
      const store = storeOf(t, [ours], { clients: { ca: authority.ca, crl: authority.crl() } });
      const door = await tlsDoor(t, { store, clients: { certificate: "optional", name: "email" } });
      const bob = authority.issue("Bob");
      const first = await visit(t, door, bob, only);
      assert.equal(first.facts?.verified, true);
      authority.revoke(bob);
      store.change({ profile: "intermediate", clients: { ca: authority.ca, crl: authority.crl() } });
      const later = await visit(t, door, bob, { ...only, session: first.session });
      assert.deepEqual([later.resumed, later.facts?.verified], [false, false]);
    });
  });
}

/** Each with the last thing that OpenSSL has against it. */
function badCertificates(): Record<string, readonly [ClientCertificate, string]> {
  const shop = openWorkshop();
  makeOwn(shop, "own", P256);
  const own = { cert: shop.read("own.pem").toString(), key: shop.read("own.key").toString() };
  shop[Symbol.dispose]();
  const names = "email:alice@example.org";
  return {
    "of a strange authority": [stranger.issue("Alice", { names }), "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    "signed by itself": [own, "UNABLE_TO_GET_CRL"],
    expired: [authority.issue("Alice", { names, expired: true }), "CERT_HAS_EXPIRED"],
    "for servers": [authority.issue("Alice", { names, usage: "serverAuth" }), "INVALID_PURPOSE"],
    revoked: [mallory, "CERT_REVOKED"],
  };
}

test("without a revocation list of its authority nobody is believed; without any list everybody is", async (t) => {
  const missing = await doorOf(t, {}, { ca: authority.ca, crl: stranger.crl() });
  assert.equal((await visit(t, missing, alice)).facts?.verified, false);
  const stale = await doorOf(t, {}, { ca: authority.ca, crl: authority.crl({ outOfDate: true }) });
  assert.equal((await visit(t, stale, alice)).facts?.verified, false);
  const none = await doorOf(t, {}, { ca: authority.ca });
  assert.equal((await visit(t, none, mallory)).facts?.verified, true);
});

test("several authorities in one file, and their lists in another, all count", async (t) => {
  const both = { ca: stranger.ca + authority.ca, crl: stranger.crl() + authority.crl() };
  const door = await doorOf(t, {}, both);
  assert.equal((await visit(t, door, alice)).facts?.verified, true);
  assert.equal((await visit(t, door, mallory)).facts?.verified, false);
});

test("a listener that does not ask hears of no certificate", async (t) => {
  const door = await tlsDoor(t, { store: storeOf(t, [ours], { clients }) });
  assert.equal((await visit(t, door, alice)).facts, undefined);
});

test("the configured kind of name is taken", async (t) => {
  const machine = authority.issue("printer", {
    names: "DNS:printer.example.org,DNS:Copier.example.org,email:a@example.org,IP:192.0.2.1,URI:urn:x",
  });
  const of = async (name: Clients["name"], certificate: ClientCertificate) =>
    (await visit(t, await doorOf(t, { name }), certificate)).facts?.names;
  assert.deepEqual(await of("dns", machine), ["printer.example.org", "copier.example.org"]);
  assert.deepEqual(await of("email", machine), ["a@example.org"]);
  assert.deepEqual(await of("commonName", machine), ["printer"]);
});
