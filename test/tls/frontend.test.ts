import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { type TestContext, test } from "node:test";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { KeyPair } from "../../src/tls/key-pair.ts";
import { selfSigned } from "../../src/tls/self-signed.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { temporaryFolder } from "../support/temp.ts";
import { within } from "../support/waiting.ts";
import { keyUpdates } from "./key-updates.ts";
import { storeOf } from "./store.ts";
import { knock as knockAt, tlsDoor as openDoor, type TlsDoor, type TlsDoorOptions } from "./tls-door.ts";

const authority = await certificateAuthority();
const first = await authority.issue(["mail.example.org", "localhost"]);
const second = await authority.issue(["mail.example.net", "*.wild.example.net"]);

/** A port of these certificates. */
function tlsDoor(
  t: TestContext,
  pairs: readonly KeyPair[] = [first, second],
  options: Partial<TlsDoorOptions> = {},
): Promise<TlsDoor> {
  return openDoor(t, { store: storeOf(t, pairs), ...options });
}

const knock = (
  t: TestContext,
  port: number,
  options: ConnectionOptions = {},
  prepare?: (socket: TLSSocket) => void,
): Promise<TLSSocket> =>
  knockAt(t, port, { ca: authority.ca, servername: "mail.example.org", ...options }, prepare);

const commonName = (socket: TLSSocket): string => String(socket.getPeerCertificate().subject.CN);

test("a client is served, verified, by TLS 1.3 and by 1.2", async (t) => {
  const door = await tlsDoor(t);
  assert.equal((await knock(t, door.port)).getProtocol(), "TLSv1.3");
  assert.equal((await knock(t, door.port, { maxVersion: "TLSv1.2" })).getProtocol(), "TLSv1.2");
});

test("TLS 1.1 and 1.0 are refused", async (t) => {
  const door = await tlsDoor(t);
  for (const version of ["TLSv1.1", "TLSv1"] as const) {
    await assert.rejects(
      knock(t, door.port, { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" }),
    );
  }
  await door.settled(2);
  assert.deepEqual(
    door.outcomes.filter((outcome) => outcome === "secured"),
    [],
  );
});

for (const [name, certificate] of [
  ["mail.example.org", "mail.example.org"],
  ["MAIL.EXAMPLE.ORG", "mail.example.org"],
  ["localhost", "mail.example.org"],
  ["mail.example.net", "mail.example.net"],
  ["Mail.Example.Net", "mail.example.net"],
  ["any.wild.example.net", "mail.example.net"],
  ["two.levels.wild.example.net", "mail.example.org"],
  ["unknown.example.com", "mail.example.org"],
] as const) {
  test(`SNI ${name} gets the certificate of ${certificate}`, async (t) => {
    const door = await tlsDoor(t);
    const socket = await knock(t, door.port, { servername: name, rejectUnauthorized: false });
    assert.equal(commonName(socket), certificate);
  });
}

test("no SNI gets the first certificate", async (t) => {
  const door = await tlsDoor(t);
  const socket = await knock(t, door.port, { servername: "", rejectUnauthorized: false });
  assert.equal(commonName(socket), "mail.example.org");
});

// Item 88. As a client's library would not send most of these, OpenSSL's tool does.
for (const name of [
  "__proto__",
  "constructor",
  "../../key",
  "mail.example.net.",
  "127.0.0.1",
  "::1",
  "*.wild.example.net",
  "a b",
  "mail.example.net\n",
  "\u00e9.example",
  `${"x".repeat(63)}.${"y".repeat(63)}.${"z".repeat(63)}.${"w".repeat(62)}`,
  "x".repeat(255),
]) {
  test(`SNI ${JSON.stringify(name.slice(0, 24))} gets the first certificate or an alert, and no fault`, async (t) => {
    const door = await tlsDoor(t);
    const said = await openssl(["s_client", "-connect", `127.0.0.1:${door.port}`, "-servername", name]);
    await door.settled(1);
    if (door.outcomes[0] === "secured") assert.match(said, /subject=.*mail\.example\.org/);
    await knock(t, door.port);
  });
}

// Item 89.
test("a hundred thousand names leave nothing behind", (t) => {
  const store = storeOf(t, [first, second]);
  const usual = store.contextFor("imaps");
  const ask = (count: number) => {
    for (let number = 0; number < count; number += 1) {
      assert.equal(store.contextFor("imaps", `host-${number}.example.com`), usual);
    }
  };
  ask(5_000);
  const before = process.memoryUsage.rss();
  ask(100_000);
  assert.ok(
    process.memoryUsage.rss() - before < 64 << 20,
    `${(process.memoryUsage.rss() - before) >> 20} MiB more`,
  );
});

// Item 87.
test("ALPN: none and imap are welcome, other protocols are not", async (t) => {
  const door = await tlsDoor(t);
  assert.equal((await knock(t, door.port)).alpnProtocol, false);
  assert.equal((await knock(t, door.port, { ALPNProtocols: ["imap"] })).alpnProtocol, "imap");
  assert.equal((await knock(t, door.port, { ALPNProtocols: ["h2", "imap"] })).alpnProtocol, "imap");
  for (const foreign of [["h2"], ["http/1.1"], ["pop3"], ["h2", "http/1.1"]]) {
    await assert.rejects(
      knock(t, door.port, { ALPNProtocols: foreign }),
      (error) =>
        "code" in (error as Error) &&
        /NO_APPLICATION_PROTOCOL/.test(String((error as { code: string }).code)),
    );
  }
});

for (const [what, bytes] of Object.entries({
  "an IMAP command": "a LOGIN alice secret\r\n",
  HTTP: "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
  "an SSLv2 hello": Buffer.from(
    `802e0100020015000000100100800200800300800400800500800600400700c0${"00".repeat(16)}`,
    "hex",
  ),
  zeros: Buffer.alloc(2_000),
  "a record of no known type": Buffer.from("ff0303000401020304", "hex"),
  "a broken ClientHello": Buffer.from(`16030100c8010000c40303${"ff".repeat(195)}`, "hex"),
})) {
  test(`${what} on a port of TLS is closed without a word in clear`, async (t) => {
    const door = await tlsDoor(t);
    const client = connectTcp({ port: door.port, host: "127.0.0.1" });
    t.after(() => client.destroy());
    let heard = Buffer.alloc(0);
    client.on("data", (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
    });
    const gone = new Promise<void>((resolve) => {
      client.once("close", () => resolve());
    });
    client.on("error", () => {});
    client.write(bytes);
    await within(2_500, "the door to close", gone);
    // 21 is an alert; anything else would be a reply.
    assert.ok(heard.length === 0 || heard[0] === 21, heard.toString("latin1"));
    await door.settled(1);
    assert.notEqual(door.outcomes[0], "secured");
  });
}

// Item 91. With two certificates the hello is waited for before TLS begins.
for (const pairs of [[first], [first, second]])
  test(`half a ClientHello, then a byte now and then, is closed at the total deadline, with ${pairs.length}`, async (t) => {
    const door = await tlsDoor(t, pairs, { deadlineMs: 200 });
    const client = connectTcp({ port: door.port, host: "127.0.0.1" });
    client.on("error", () => {});
    t.after(() => client.destroy());
    client.write(Buffer.from("16030100c8010000c40303", "hex"));
    const timer = setInterval(() => client.write("\0"), 15);
    t.after(() => clearInterval(timer));
    const began = performance.now();
    await door.settled(1);
    assert.ok(performance.now() - began < 1_500);
    assert.deepEqual(door.outcomes, ["loginTimeout"]);
  });

for (const leave of ["end", "destroy", "resetAndDestroy"] as const) {
  test(`a client that leaves (${leave}) in its handshake is not waited for`, async (t) => {
    const door = await tlsDoor(t);
    const client = connectTcp({ port: door.port, host: "127.0.0.1" });
    client.on("error", () => {});
    t.after(() => client.destroy());
    const began = performance.now();
    client.write(Buffer.from("16030100c8010000c40303", "hex"), () => client[leave]());
    await door.settled(1);
    assert.ok(performance.now() - began < 1_500, `${performance.now() - began} ms`);
    assert.deepEqual(door.outcomes, ["ChannelClosed"]);
  });
}

// Item 90.
test("renegotiation is refused", async (t) => {
  const door = await tlsDoor(t);
  const socket = await knock(t, door.port, { maxVersion: "TLSv1.2" });
  const outcome = await within(
    3_000,
    "an answer to a renegotiation",
    new Promise<string>((resolve) => {
      socket.once("close", () => resolve("closed"));
      socket.once("error", () => resolve("refused"));
      socket.renegotiate({ rejectUnauthorized: false }, (error) =>
        resolve(error ? "refused" : "renegotiated"),
      );
    }),
  );
  assert.notEqual(outcome, "renegotiated");
});

for (const askBack of [false, true]) {
  test(`ten thousand KeyUpdates, ${askBack ? "each to be answered, " : ""}cost little`, async (t) => {
    const door = await tlsDoor(t);
    const raw = connectTcp({ port: door.port, host: "127.0.0.1" });
    t.after(() => raw.destroy());
    let secret = Buffer.alloc(0);
    const socket = await knock(t, door.port, { socket: raw, ciphers: "TLS_AES_128_GCM_SHA256" }, (client) =>
      client.on("keylog", (line) => {
        const match = /^CLIENT_TRAFFIC_SECRET_0 \S+ (\S+)/.exec(line.toString());
        if (match?.[1]) secret = Buffer.from(match[1], "hex");
      }),
    );
    const updates = keyUpdates(secret, 10_000, askBack);
    const before = process.cpuUsage();
    // Past the client's TLS, which does not know what is said in its name.
    await new Promise((resolve) => raw.write(updates, resolve));
    raw.write(keyUpdates(secret, 1, false));
    await door.settled(1);
    socket.on("error", () => {});
    await within(5_000, "the door to have read all, and the one that is under old keys", once(raw, "close"));
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 2_000_000, `${(user + system) / 1000} ms`);
    assert.deepEqual(door.outcomes, ["secured"]);
  });
}

test("the certificate for trying out is accepted by Node and OpenSSL, by each of its names", async (t) => {
  const names = ["door.example.org", "localhost", "127.0.0.1", "::1"];
  const pair = await selfSigned(names);
  const leaf = new X509Certificate(pair.cert);
  for (const name of ["door.example.org", "localhost"])
    assert.equal(leaf.checkHost(name, { subject: "never" }), name);
  for (const address of ["127.0.0.1", "::1"]) assert.equal(leaf.checkIP(address), address);
  assert.equal(leaf.checkHost("example.org"), undefined);
  assert.ok(
    Date.parse(leaf.validFrom) < Date.now() && Date.parse(leaf.validTo) > Date.now() + 300 * 86_400_000,
  );

  const door = await tlsDoor(t, [pair]);
  const socket = await knock(t, door.port, { ca: pair.cert, servername: "door.example.org" });
  assert.equal(socket.authorized, true);

  await using folder = await temporaryFolder();
  const file = await folder.write("own.pem", pair.cert);
  for (const check of [
    ["-verify_hostname", "door.example.org"],
    ["-verify_ip", "127.0.0.1"],
    ["-verify_ip", "::1"],
  ]) {
    assert.match(await openssl(["verify", "-x509_strict", "-CAfile", file, ...check, file]), /: OK\n/);
  }
  assert.doesNotMatch(
    await openssl(["verify", "-CAfile", file, "-verify_hostname", "other.example.org", file]),
    /: OK\n/,
  );
});

test("each certificate for trying out is another one", async () => {
  const [one, other] = await Promise.all([selfSigned(["localhost"]), selfSigned(["localhost"])]);
  assert.notEqual(new X509Certificate(one.cert).serialNumber, new X509Certificate(other.cert).serialNumber);
  assert.match(new X509Certificate(one.cert).serialNumber, /^[4-7]/, "RFC 5280 4.1.2.2: positive");
});

/** What OpenSSL's tool says, whatever it thinks of it. */
function openssl(args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const child = execFile("openssl", args, { timeout: 5_000 }, (_error, stdout, stderr) =>
      resolve(`${stdout}${stderr}`),
    );
    child.stdin?.end();
  });
}
