import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { type TestContext, test } from "node:test";
import { createServer, type TlsOptions } from "node:tls";
import { Channel, ChannelClosed } from "../../src/io/channel.ts";
import { reasonOf } from "../../src/upstream/reason.ts";
import { type Trust, tlsWrapper } from "../../src/upstream/trust.ts";
import { type Certificate, certificateAuthority } from "../support/certificates.ts";
import { temporaryFolder } from "../support/temp.ts";
import { within } from "../support/waiting.ts";

const NAME = "backend.example.net";
const authority = await certificateAuthority();
const folder = await temporaryFolder();
const ca = await folder.write("ca.pem", authority.ca);
test.after(() => folder.remove());

/** A backend with this certificate, and what came of going there as `host` twice: the second may resume. */
async function outcomes(
  t: TestContext,
  certificate: Certificate,
  { host = NAME, trust = { ca }, server = {} }: { host?: string; trust?: Trust; server?: TlsOptions } = {},
): Promise<string[]> {
  const backend = createServer({ ...certificate, ...server }, (socket) => {
    socket.on("error", () => {});
    socket.write(`${socket.authorized ? "known" : "hello"}\r\n`);
  });
  backend.on("tlsClientError", () => {});
  backend.listen(0, "127.0.0.1");
  t.after(() => backend.close());
  await once(backend, "listening");
  const { port } = backend.address() as { port: number };
  const wrap = tlsWrapper(host, trust);
  const came: string[] = [];
  for (let time = 0; time < 2; time += 1) came.push(await visit(t, port, wrap));
  return came;
}

async function visit(t: TestContext, port: number, wrap: ReturnType<typeof tlsWrapper>): Promise<string> {
  const socket = connectTcp({ port, host: "127.0.0.1" });
  await once(socket, "connect");
  const channel = new Channel(socket, 1_000);
  t.after(() => channel.destroy());
  try {
    await within(5_000, "a handshake", channel.startTls(wrap));
    return (await within(5_000, "a greeting", channel.readLine(100))).toString();
  } catch (error) {
    assert.ok(error instanceof ChannelClosed, String(error));
    return reasonOf(error);
  } finally {
    channel.destroy();
  }
}

const IN = ["hello", "hello"];
const dns = (value: string) => ({ type: 2, value });

// Item 95: no name but a subjectAltName of the right kind counts.
for (const [what, certificate, host, expected] of [
  ["its name", await authority.issue([NAME]), NAME, IN],
  ["its name in another case", await authority.issue(["BACKEND.Example.NET"]), NAME, IN],
  ["a wildcard of one label", await authority.issue(["*.example.net"]), NAME, IN],
  ["a wildcard of two labels", await authority.issue(["*.net"]), NAME, /is not for backend/],
  ["part of a label", await authority.issue(["back*.example.net"]), NAME, /is not for backend/],
  ["another name", await authority.issue(["other.example.net"]), NAME, /is not for backend/],
  [
    "its name as common name only",
    await authority.issue([NAME], { altNames: [] }),
    NAME,
    /no subjectAltName/,
  ],
  [
    "its name as common name, and an address",
    await authority.issue([NAME], { altNames: [{ type: 7, ip: "192.0.2.1" }] }),
    NAME,
    /is not for backend/,
  ],
  [
    "its name as common name, and a mail address",
    await authority.issue([NAME], { altNames: [{ type: 1, value: "a@example.net" }] }),
    NAME,
    /is not for backend/,
  ],
  ["its address", await authority.issue(["127.0.0.1"]), "127.0.0.1", IN],
  ["another address", await authority.issue(["127.0.0.2"]), "127.0.0.1", /is not for 127\.0\.0\.1/],
  [
    "its address as if it were a name",
    await authority.issue([NAME], { altNames: [dns("127.0.0.1")] }),
    "127.0.0.1",
    /is not for 127\.0\.0\.1/,
  ],
  [
    "its address as common name",
    await authority.issue([NAME], { commonName: "127.0.0.1" }),
    "127.0.0.1",
    /is not for 127\.0\.0\.1/,
  ],
  ["an IPv6 address", await authority.issue(["::1"]), "::1", IN],
  ["a date that is over", await authority.issue([NAME], { expired: true }), NAME, /expired/],
  ["its own signature", await authority.issue([NAME], { selfSigned: true }), NAME, /self-signed/],
] as const) {
  test(`a backend that shows ${what} is ${expected === IN ? "believed" : "not believed"}`, async (t) => {
    const came = await outcomes(t, certificate, { host });
    if (expected === IN) assert.deepEqual(came, IN);
    else for (const outcome of came) assert.match(outcome, expected as RegExp);
  });
}

test("without a file of authorities the system's count, and a private one's word is nothing", async (t) => {
  for (const outcome of await outcomes(t, await authority.issue([NAME]), { trust: {} }))
    assert.match(outcome, /unable to (verify|get)|self-signed/);
});

test("serverName stands in for the host, in what is asked for and in what is expected", async (t) => {
  const certificate = await authority.issue([NAME]);
  const trust = { ca, serverName: NAME };
  assert.deepEqual(await outcomes(t, certificate, { host: "127.0.0.1", trust }), IN);
  for (const outcome of await outcomes(t, certificate, { trust: { ca, serverName: "other.example.net" } }))
    assert.match(outcome, /is not for other/);
});

test("mutual TLS: a backend that asks for our certificate gets it, resumed too", async (t) => {
  const own = await authority.issue(["door.example.org"], { usage: "clientAuth" });
  const cert = await folder.write("own.pem", own.cert);
  const key = await folder.write("own.key", own.key);
  const certificate = await authority.issue([NAME]);
  const server = { requestCert: true, rejectUnauthorized: true, ca: authority.ca };
  assert.deepEqual(await outcomes(t, certificate, { trust: { ca, cert, key }, server }), ["known", "known"]);
  for (const outcome of await outcomes(t, certificate, { server }))
    assert.match(outcome, /certificate required|handshake failure|closed/i);
});

test("a backend of old TLS is an outage", async (t) => {
  const server = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
  for (const outcome of await outcomes(t, await authority.issue([NAME]), { server }))
    assert.match(outcome, /version/);
});
