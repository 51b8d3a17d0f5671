import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type TestContext, test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import { TicketSecret } from "../../src/tls/tickets.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { within } from "../support/waiting.ts";
import { storeOf } from "./store.ts";
import { knock, type TlsDoor, type TlsDoorOptions, tlsDoor } from "./tls-door.ts";

const authority = await certificateAuthority();
const one = await authority.issue(["one.example.org"]);
const two = await authority.issue(["two.example.org"]);

interface Visit {
  readonly session: Buffer;
  readonly resumed: boolean;
  readonly certificate: string;
}

/** A handshake, and the session that it leaves. */
async function visit(
  t: TestContext,
  { port }: TlsDoor,
  servername: string,
  options: ConnectionOptions = {},
): Promise<Visit> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const socket = await knock(t, port, { ca: authority.ca, servername, ...options }, (client) =>
    client.once("session", resolve),
  );
  const resumed = socket.isSessionReused();
  // A resumed handshake shows none.
  const certificate = resumed ? "none" : String(socket.getPeerCertificate().subject.CN);
  // TLS 1.2 gives no new ticket for one that is good.
  const session = resumed ? Buffer.alloc(0) : await within(3_000, "a session", promise);
  socket.destroy();
  return { session, resumed, certificate };
}

function doorOf(
  t: TestContext,
  tickets = new TicketSecret(),
  pairs = [one, two],
  more: Partial<TlsDoorOptions> = {},
): Promise<TlsDoor> {
  return tlsDoor(t, { store: storeOf(t, pairs, {}, tickets), ...more });
}

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`${maxVersion}: a session is resumed, whatever the certificate`, async (t) => {
    const door = await doorOf(t);
    for (const name of ["one.example.org", "two.example.org"]) {
      const { session, resumed, certificate } = await visit(t, door, name, { maxVersion });
      assert.deepEqual([resumed, certificate], [false, name]);
      assert.equal((await visit(t, door, name, { maxVersion, session })).resumed, true);
    }
  });

  test(`${maxVersion}: a ticket of one host is no good at another`, async (t) => {
    const door = await doorOf(t);
    const { session } = await visit(t, door, "one.example.org", { maxVersion });
    const elsewhere = await visit(t, door, "two.example.org", { maxVersion, session });
    assert.deepEqual([elsewhere.resumed, elsewhere.certificate], [false, "two.example.org"]);
  });

  test(`${maxVersion}: a ticket of one listener is no good at another`, async (t) => {
    const tickets = new TicketSecret();
    const imaps = await doorOf(t, tickets);
    const pop3s = await doorOf(t, tickets, [one, two], { listener: "pop3s" });
    const { session } = await visit(t, imaps, "one.example.org", { maxVersion });
    assert.equal((await visit(t, pop3s, "one.example.org", { maxVersion, session })).resumed, false);
    assert.equal((await visit(t, imaps, "one.example.org", { maxVersion, session })).resumed, true);
  });

  test(`${maxVersion}: two gateways of one secret resume each other's sessions`, async (t) => {
    const secret = randomBytes(32);
    const here = await doorOf(t, new TicketSecret({ secret }));
    const adopter = new TicketSecret();
    const there = await doorOf(t, adopter);
    const { session } = await visit(t, here, "two.example.org", { maxVersion });
    assert.equal((await visit(t, there, "two.example.org", { maxVersion, session })).resumed, false);
    adopter.adopt(secret);
    assert.equal((await visit(t, there, "two.example.org", { maxVersion, session })).resumed, true);
  });

  test(`${maxVersion}: when the secret turns, older sessions are full handshakes, and open ones go on`, async (t) => {
    const tickets = new TicketSecret();
    const door = await doorOf(t, tickets);
    const open = await knock(t, door.port, { ca: authority.ca, servername: "one.example.org", maxVersion });
    const { session } = await visit(t, door, "one.example.org", { maxVersion });
    tickets.rotate();
    const later = await visit(t, door, "one.example.org", { maxVersion, session });
    assert.equal(later.resumed, false);
    assert.equal(
      (await visit(t, door, "one.example.org", { maxVersion, session: later.session })).resumed,
      true,
    );
    assert.equal(open.destroyed, false);
  });

  test(`${maxVersion}: a renewed certificate of the same names resumes the old one's sessions`, async (t) => {
    const store = storeOf(t, [one, two]);
    const door = await tlsDoor(t, { store });
    const { session } = await visit(t, door, "one.example.org", { maxVersion });
    store.setPairs("files", [await authority.issue(["one.example.org"]), two]);
    assert.equal((await visit(t, door, "one.example.org", { maxVersion, session })).resumed, true);
  });
}

test("the secret turns by itself, and tells who shares it", async (t) => {
  const tickets = new TicketSecret({ rotateMs: 20 });
  t.after(() => tickets[Symbol.dispose]());
  const before = tickets.keysFor(["imaps"]);
  const told = await within(
    3_000,
    "the secret to turn",
    new Promise<Uint8Array>((resolve) => {
      tickets.onChange(resolve);
      // The timer holds nobody up; here somebody waits for it.
      const held = setInterval(() => {}, 1_000);
      t.after(() => clearInterval(held));
    }),
  );
  const shared = new TicketSecret({ secret: told, rotateMs: 0 });
  assert.notDeepEqual(shared.keysFor(["imaps"]), before);
  assert.deepEqual(shared.keysFor(["imaps"]), new TicketSecret({ secret: told }).keysFor(["imaps"]));
  assert.notDeepEqual(shared.keysFor(["imaps"]), shared.keysFor(["pop3s"]));
  assert.throws(() => shared.adopt(Buffer.alloc(8)), RangeError);
});
