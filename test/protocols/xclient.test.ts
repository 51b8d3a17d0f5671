import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatId } from "../../src/protocols/imap/identification.ts";
import { xclientLines } from "../../src/protocols/smtp/xclient.ts";
import { xclientWords } from "../../src/protocols/xclient.ts";
import { formatProxyV1 } from "../../src/wire/proxy-format.ts";

const NAMES = ["ADDR", "PORT", "DESTADDR", "DESTPORT", "SESSION", "TTL", "CLIENT-TRANSPORT", "DESTNAME"];
const CLIENT = {
  address: "2001:db8::7",
  port: 4711,
  local: { address: "192.0.2.1", port: 995 },
  session: "mwu5h2el-181ri4e",
};

test("Dovecot's words for POP3 and ManageSieve, without a prefix for IPv6", () => {
  const tls = { version: "TLSv1.3", cipher: "x", serverName: "mail.example.org" };
  assert.equal(
    xclientWords({ ...CLIENT, tls }, NAMES, 1022),
    "XCLIENT ADDR=2001:db8::7 PORT=4711 DESTADDR=192.0.2.1 DESTPORT=995 SESSION=mwu5h2el-181ri4e TTL=6" +
      " CLIENT-TRANSPORT=TLS DESTNAME=mail.example.org",
  );
  assert.equal(
    xclientWords(CLIENT, ["ADDR", "CLIENT-TRANSPORT"], 1022),
    "XCLIENT ADDR=2001:db8::7 CLIENT-TRANSPORT=insecure",
  );
});

test("whatever name a client asks for in TLS, the line is one, short, and of words", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 2000 }), (serverName) => {
      const line = xclientWords({ ...CLIENT, tls: { version: "", cipher: "", serverName } }, NAMES, 1022);
      assert.ok(line.length <= 1022);
      assert.match(line, /^XCLIENT(?: [A-Z-]+=[A-Za-z0-9._:-]+)+$/);
    }),
    { numRuns: 1000 },
  );
});

test("a port that nobody knows is not told: Dovecot would take nothing of the rest", () => {
  const unknown = { ...CLIENT, port: 0, local: { address: "192.0.2.1", port: 0 } };
  assert.equal(
    xclientWords(unknown, ["ADDR", "PORT", "DESTADDR", "DESTPORT"], 1022),
    "XCLIENT ADDR=2001:db8::7 DESTADDR=192.0.2.1",
  );
  assert.deepEqual(xclientLines(unknown, ["ADDR", "PORT", "DESTPORT"]), ["XCLIENT ADDR=IPV6:2001:db8::7"]);
  assert.doesNotMatch(formatId(unknown, []), /-port"/);
  assert.match(formatProxyV1({ ...unknown, address: "192.0.2.7" }), / 1 1\r\n$/);
});
