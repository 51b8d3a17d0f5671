import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { namedClient, parseXclient } from "../../../src/protocols/smtp/named-client.ts";

describe("what stands behind XCLIENT", () => {
  const cases: readonly (readonly [rest: string, told: unknown])[] = [
    ["ADDR=203.0.113.7", { address: "203.0.113.7" }],
    ["addr=203.0.113.7 port=40000", { address: "203.0.113.7", port: 40_000 }],
    ["NAME=[UNAVAILABLE] ADDR=IPV6:2001:DB8::1", { address: "2001:db8::1" }],
    ["ADDR=ipv6:2001:db8::1", { address: "2001:db8::1" }],
    ["ADDR=IPV6:::ffff:203.0.113.7", { address: "203.0.113.7" }],
    ["ADDR=[UNAVAILABLE]", { address: null }],
    ["ADDR=[tempunavail] PORT=[UNAVAILABLE]", { address: null }],
    ["PROTO=ESMTP HELO=client.example.org NAME=mx.example.com", {}],
    ["HELO=[203.0.113.7]", {}],
    ["HELO=a+2Db", {}],
    ["DESTADDR=192.0.2.25 DESTPORT=587", { localAddress: "192.0.2.25", localPort: 587 }],
    ["LOGIN=[UNAVAILABLE] ADDR=203.0.113.7", { address: "203.0.113.7" }],
    // Whose mail it is, a password says.
    ["LOGIN=alice ADDR=203.0.113.7", "login"],
    ["LOGIN=alice+40example.org", "login"],
    ["", "syntax"],
    ["ADDR", "syntax"],
    ["ADDR=", "syntax"],
    ["=203.0.113.7", "syntax"],
    ["ADDR=203.0.113.7 ", "syntax"],
    ["ADDR=203.0.113.7  PORT=1", "syntax"],
    ["ADDR=203.0.113.7 ADDR=203.0.113.8", "syntax"],
    ["ADDR=203.0.113.7 addr=203.0.113.8", "syntax"],
    ["ADDR=[203.0.113.7]", "syntax"],
    ["ADDR=010.0.0.1", "syntax"],
    ["ADDR=2001:db8::1", "syntax"],
    ["ADDR=IPV6:203.0.113.7", "syntax"],
    ["ADDR=IPV6:fe80::1%eth0", "syntax"],
    ["ADDR=203.0.113.7+0D+0A", "syntax"],
    ["ADDR=203.0.113.7+2", "syntax"],
    ["PORT=65536", "syntax"],
    ["PORT=025", "syntax"],
    ["PROTO=LMTP", "syntax"],
    ["NAME=a+0D+0AMAIL", "syntax"],
    ["HELO=a+00b", "syntax"],
    ["HELO=a+20b", "syntax"],
    [`HELO=${"a".repeat(256)}`, "syntax"],
    ["REVERSE_NAME=x", "syntax"],
    ["constructor=x", "syntax"],
    ["__proto__=x", "syntax"],
    ["TTL=7", "syntax"],
  ];
  for (const [rest, told] of cases)
    test(JSON.stringify(rest), () => assert.deepEqual(parseXclient(rest), told));

  test("nothing throws", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (rest) => {
        parseXclient(rest);
        parseXclient(`ADDR=${rest}`);
      }),
    );
  });
});

test("the proxy stands beside the client that it names", () => {
  const proxy = {
    address: "192.0.2.10",
    port: 50_000,
    local: { address: "192.0.2.25", port: 25 },
    proxy: "xclient",
  } as const;
  const via = { address: "192.0.2.10", port: 50_000 };
  assert.deepEqual(namedClient(proxy, { address: "203.0.113.7", port: 1, localPort: 587 }), {
    address: "203.0.113.7",
    port: 1,
    local: { address: "192.0.2.25", port: 587 },
    via,
  });
  assert.deepEqual(namedClient(proxy, { address: null, port: 1 }), {
    address: "192.0.2.10",
    port: 50_000,
    local: { address: "192.0.2.25", port: 25 },
    via,
  });
});
