import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { xclientLines } from "../../../src/protocols/smtp/xclient.ts";
import type { ClientFacts } from "../../../src/session/protocol.ts";

const POSTFIX = ["NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT"];
const DOVECOT = ["ADDR", "PORT", "PROTO", "HELO", "LOGIN", "SESSION", "TTL", "TIMEOUT", "FORWARD"];
const CLIENT: ClientFacts = {
  address: "192.0.2.7",
  port: 4711,
  local: { address: "2001:db8::1", port: 587 },
  session: "mwu5h2el-181ri4e",
  hello: { name: "client.example.org", extended: true },
};

test("to Postfix: what it offers, the client itself last", () => {
  assert.deepEqual(xclientLines(CLIENT, POSTFIX), [
    "XCLIENT PROTO=ESMTP HELO=client.example.org PORT=4711 DESTADDR=IPV6:2001:db8::1 DESTPORT=587" +
      " REVERSE_NAME=[UNAVAILABLE] NAME=[UNAVAILABLE] ADDR=192.0.2.7",
  ]);
});

test("to Dovecot: what it offers, and only that", () => {
  assert.deepEqual(xclientLines({ ...CLIENT, address: "fe80::7%eth0" }, DOVECOT), [
    "XCLIENT PORT=4711 PROTO=ESMTP HELO=client.example.org SESSION=mwu5h2el-181ri4e TTL=6 ADDR=IPV6:fe80::7",
  ]);
  const all = [...DOVECOT, "CLIENT-TRANSPORT", "DESTNAME"];
  const tls = { version: "TLSv1.3", cipher: "x", serverName: "mail.example.org" };
  assert.match(
    xclientLines({ ...CLIENT, tls }, all)?.[0] ?? "",
    / CLIENT-TRANSPORT=TLS DESTNAME=mail.example.org /,
  );
  assert.deepEqual(xclientLines(CLIENT, ["ADDR", "NONSENSE", "__PROTO__", "CONSTRUCTOR"]), [
    "XCLIENT ADDR=192.0.2.7",
  ]);
  assert.deepEqual(xclientLines(CLIENT, []), []);
});

test("the login a+b=c d arrives intact", () => {
  const [line = ""] = xclientLines({ ...CLIENT, login: "a+b=c d" }, POSTFIX) ?? [];
  assert.match(line, / LOGIN=a\+2Bb\+3Dc\+20d REVERSE_NAME=/);
});

test("who signed in is in the line that says who it is; too long for that, nothing is said at all", () => {
  const hello = { name: "h".repeat(255), extended: true };
  const lines = xclientLines({ ...CLIENT, hello, login: "l".repeat(250) }, POSTFIX) ?? [];
  assert.equal(lines.length, 2);
  assert.match(lines[1] ?? "", /^XCLIENT LOGIN=l+ REVERSE_NAME=\S+ NAME=\S+ ADDR=192\.0\.2\.7$/);
  assert.equal(xclientLines({ ...CLIENT, login: "ü".repeat(100) }, POSTFIX), undefined);
});

test("whatever a client calls itself, every line has 512 octets at most and words of printable ASCII", () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  fc.assert(
    fc.property(
      text,
      text,
      text,
      fc.subarray([...new Set([...POSTFIX, ...DOVECOT, "DESTNAME"])]),
      (name, login, sni, offered) => {
        const client = {
          ...CLIENT,
          hello: { name, extended: false },
          login,
          tls: { version: "TLSv1.3", cipher: "x", serverName: sni },
        };
        for (const line of xclientLines(client, offered) ?? []) {
          assert.ok(line.length <= 510);
          assert.match(line, /^XCLIENT(?: [A-Z_-]+=[!-<>-~]*)+$/);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
