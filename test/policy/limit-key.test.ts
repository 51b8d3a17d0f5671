import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalName } from "../../src/auth/name.ts";
import {
  canonical,
  type KeyPart,
  limitKey,
  networkOf,
  showKey,
  subjectOf,
} from "../../src/policy/limit-key.ts";
import { facts } from "./engine-kit.ts";

const keyOf = (per: readonly KeyPart[], more: Parameters<typeof facts>[0]) =>
  limitKey(per, subjectOf(facts(more), { ip: networkOf(facts(more).ip, 64) }));

test("an IPv4 address stands for itself", () => {
  assert.equal(networkOf("192.0.2.1", 64), "192.0.2.1");
});

for (const [address, network] of [
  ["2001:db8::1", "2001:db8:0:0:0:0:0:0/64"],
  ["2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8:0:0:0:0:0:0/64"],
  ["2001:DB8::A", "2001:db8:0:0:0:0:0:0/64"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2:0:0:0:0/64"],
  ["::", "0:0:0:0:0:0:0:0/64"],
  ["fe80::1%eth0", "fe80:0:0:0:0:0:0:0/64"],
  ["2001:db8::192.0.2.1", "2001:db8:0:0:0:0:0:0/64"],
] as const) {
  test(`the network of ${address} is ${network}`, () => assert.equal(networkOf(address, 64), network));
}

test("prefixes cut at any bit", () => {
  assert.equal(networkOf("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1), "8000:0:0:0:0:0:0:0/1");
  assert.equal(networkOf("2001:db8:1:ff80::1", 57), "2001:db8:1:ff80:0:0:0:0/57");
  assert.equal(networkOf("2001:db8:1:ffff::1", 56), "2001:db8:1:ff00:0:0:0:0/56");
  assert.equal(networkOf("2001:db8::1", 128), "2001:db8:0:0:0:0:0:1/128");
});

test("a name is counted as one however it is spelt: as users are found", () => {
  // In capitals it has no letter of its own: one that is made small is composed then.
  for (const name of ["\u01f0an@example.org", "j\u030can@example.org", "J\u030cAN@example.org"]) {
    assert.equal(keyOf(["user"], { user: name }), "user=\u01f0an@example.org");
    assert.equal(canonical(name), canonicalName(name));
  }
});

test("an IPv4 client of an IPv6 socket is that IPv4 client, not all of IPv4", () => {
  assert.equal(networkOf("::ffff:192.0.2.1", 64), "192.0.2.1");
  assert.equal(networkOf("::ffff:c000:201", 64), "192.0.2.1");
});

test("two addresses have one network exactly when a subnet of that length holds both", () => {
  // Few distinct values, so that neighbours are common; the first group keeps away from IPv4-mapped.
  const address = fc
    .tuple(
      fc.constant("2001"),
      ...Array.from({ length: 7 }, () => fc.constantFrom("0", "1", "8000", "ffff", "db8")),
    )
    .map((groups) => groups.join(":"));
  fc.assert(
    fc.property(address, address, fc.integer({ min: 1, max: 128 }), (one, other, prefix) => {
      const subnet = new BlockList();
      subnet.addSubnet(one, prefix, "ipv6");
      assert.equal(networkOf(one, prefix) === networkOf(other, prefix), subnet.check(other, "ipv6"));
    }),
    { numRuns: 1000 },
  );
});

test("two sessions have one key exactly when all counted parts are alike", () => {
  const name = fc.string({ unit: fc.constantFrom(..."ab@= |,"), maxLength: 6 });
  fc.assert(
    fc.property(name, name, name, name, (user, listener, otherUser, otherListener) => {
      const key = keyOf(["user", "listener"], { user, listener });
      const other = keyOf(["user", "listener"], { user: otherUser, listener: otherListener });
      assert.equal(key === other, user === otherUser && listener === otherListener);
    }),
    { numRuns: 2000 },
  );
});

test("a key is shown without its separators", () => {
  const key = keyOf(["ip", "user"], { user: "Alice" });
  assert.equal(showKey(key ?? ""), "ip=192.0.2.1 user=alice");
});
