import assert from "node:assert/strict";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import type { Challenger } from "../../../src/tls/acme/challenge.ts";
import { listenForChallenges } from "../../../src/tls/acme/http-challenge.ts";
import { newKey } from "../../../src/tls/acme/keys.ts";
import { OrderFailed, orderCertificate } from "../../../src/tls/acme/order.ts";
import { certificateAuthority } from "../../support/certificates.ts";
import { startPebble } from "../../support/pebble.ts";
import { runProcess } from "../../support/processes.ts";
import { within } from "../../support/waiting.ts";

const authority = await certificateAuthority();
const accountKey = await newKey("ecdsa");

/** Shows nothing: the authority will find nobody. */
const SILENT: Challenger = {
  type: "http-01",
  present: async () => ({ [Symbol.asyncDispose]: async () => {} }),
};

interface Wish {
  readonly directory: string;
  readonly challenger?: Challenger;
  readonly ca?: string;
  readonly signal?: AbortSignal;
  readonly keyType?: "ecdsa" | "rsa";
  readonly eab?: { kid: string; hmacKey: string };
}

function order({ directory, challenger = SILENT, keyType = "ecdsa", eab, ...wish }: Wish) {
  const settings = { directory, keyType, email: "postmaster@example.org", domains: ["mail.example.org"] };
  return orderCertificate({
    settings: { ...settings, ...(eab && { eab }) },
    ca: wish.ca ?? authority.ca,
    accountKey,
    challenger,
    signal: wish.signal ?? new AbortController().signal,
  });
}

/** An ACME server that says what a test wants, for the answers that pebble does not give. */
async function scripted(
  t: TestContext,
  answer: (
    path: string,
    base: string,
  ) => { status?: number; headers?: Record<string, string>; body?: unknown } | undefined,
): Promise<string> {
  const server: Server = createServer(await authority.issue(["127.0.0.1"]), (request, response) => {
    const base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const resources = { newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: `${base}/order` };
    const said = answer(request.url ?? "", base);
    // No answer at all, and the connection stays.
    if (!said) return;
    const { status = 200, headers, body = resources } = said;
    response.writeHead(status, { "replay-nonce": "nonce", ...headers });
    response.end(
      request.method === "HEAD" ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/dir`;
}

async function failureOf(promise: Promise<unknown>): Promise<OrderFailed> {
  const error = await within(
    10_000,
    "an order to fail",
    promise.then(
      () => undefined,
      (error: unknown) => error,
    ),
  );
  assert.ok(error instanceof OrderFailed, String(error));
  return error;
}

test("an order ends with a certificate for the key that it comes with, and RSA can be asked for", async () => {
  await using http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
  await using pebble = await startPebble({ authority, httpPort: http.port, nonceReject: 30 });
  const first = await order({ directory: pebble.directory, challenger: http });
  assert.deepEqual(first.names, ["mail.example.org"]);
  assert.match(
    first.cert,
    /^(-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n){2,}$/,
    "with its chain",
  );
  const second = await order({ directory: pebble.directory, challenger: http, keyType: "rsa" });
  assert.ok(second.key.length > first.key.length * 3);
});

test("external account binding: with the key that the authority knows, and not without", async () => {
  await using http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
  const eab = { kid: "kid-1", hmacKey: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" };
  await using pebble = await startPebble({ authority, httpPort: http.port, eab });
  const { directory } = pebble;
  const { message } = await failureOf(order({ directory, challenger: http }));
  assert.match(message, /\(externalAccountRequired, HTTP 403\)$/);
  await failureOf(order({ directory, challenger: http, eab: { ...eab, hmacKey: "A".repeat(64) } }));
  await order({ directory, challenger: http, eab });
});

test("an authority that does not find the proof: its own words are the reason", async () => {
  await using pebble = await startPebble({ authority });
  const { message } = await failureOf(order({ directory: pebble.directory }));
  assert.match(message, /^mail\.example\.org: .*(refused|connect)/i);
});

test("an authority whose own certificate nobody vouches for is not believed", async () => {
  const other = await certificateAuthority("Another authority");
  await using pebble = await startPebble({ authority });
  const { message } = await failureOf(order({ directory: pebble.directory, ca: other.ca }));
  assert.match(message, /^cannot ask 127\.0\.0\.1:\d+: .*certificate/);
});

test("too many orders: the authority's Retry-After comes with the reason", async (t) => {
  const problem = { type: "urn:ietf:params:acme:error:rateLimited", detail: "too many, \r\nsee \u001b[31m" };
  const directory = await scripted(t, (path) =>
    path === "/account" ? { status: 429, headers: { "retry-after": "3600" }, body: problem } : {},
  );
  const failure = await failureOf(order({ directory }));
  assert.equal(failure.message, "too many,  see  [31m (rateLimited, HTTP 429)");
  assert.equal(failure.retryAfterMs, 3_600_000);
});

for (const [what, answer, reason] of [
  ["an outage in HTML", { status: 503, body: "<html>" }, /no reason given \(HTTP 503\)/],
  ["a directory of nothing", { body: "" }, /no data|Unable to locate|Cannot|newNonce/],
  ["a directory of null", { body: "null" }, /./],
  [
    "a directory of clear text",
    { body: { newNonce: "http://127.0.0.1/nonce", newAccount: "http://127.0.0.1/" } },
    /not https/,
  ],
  [
    "a directory of other schemes",
    { body: { newNonce: "file:///etc/passwd", newAccount: "x:" } },
    /not https/,
  ],
  ["an endless answer", { body: "x".repeat(2 << 20) }, /too long/],
  ["a redirect to elsewhere", { status: 302, headers: { location: "http://127.0.0.1:1/" }, body: "" }, /./],
] as const) {
  test(`${what} fails the order and nothing else`, async (t) => {
    const directory = await scripted(t, () => answer);
    assert.match((await failureOf(order({ directory }))).message, reason);
  });
}

/** An authority that takes accounts and orders, and then asks about this. */
function asking(authorization: object) {
  return (path: string, base: string) => {
    const location = `${base}/it`;
    if (path === "/account") return { status: 201, headers: { location }, body: { status: "valid" } };
    if (path === "/order")
      return {
        status: 201,
        headers: { location },
        body: { status: "pending", authorizations: [`${base}/authorization`] },
      };
    return path === "/authorization" ? { body: authorization } : {};
  };
}

for (const [what, value, token, reason] of [
  ["a name that nobody asked for", "bank.example", "token", /not ours/],
  ["an option instead of a name", "--config=/etc/passwd", "token", /not ours/],
  ["a wildcard's own star", "*.mail.example.org", "token", /not ours/],
  ["a token with a line break", "mail.example.org", "a\r\nSet-Cookie: x", /token is none/],
  ["a token that is a path", "mail.example.org", "../../index", /token is none/],
  ["no token", "mail.example.org", undefined, /token is none/],
] as const) {
  test(`an authority that asks about ${what} gets nothing shown`, async (t) => {
    const challenges = [{ type: "http-01", url: "https://127.0.0.1:1/", status: "pending", token }];
    const identifier = { type: "dns", value };
    const directory = await scripted(t, asking({ status: "pending", identifier, challenges }));
    const challenger: Challenger = { type: "http-01", present: async () => assert.fail("shown") };
    assert.match((await failureOf(order({ directory, challenger }))).message, reason);
  });
}

test("an authority that offers no challenge of the kind says so", async (t) => {
  const identifier = { type: "dns", value: "mail.example.org" };
  const directory = await scripted(t, asking({ status: "pending", identifier, challenges: [] }));
  assert.match((await failureOf(order({ directory }))).message, /offers no http-01/);
});

test("an authority that never answers holds up nothing: a stop ends the order at once", async (t) => {
  const asked = Promise.withResolvers<void>();
  const directory = await scripted(t, () => void asked.resolve());
  const stop = new AbortController();
  const failing = failureOf(order({ directory, signal: stop.signal }));
  await within(5_000, "the authority to be asked", asked.promise);
  const began = performance.now();
  stop.abort();
  await failing;
  assert.ok(performance.now() - began < 500);
});

test("two orders at two authorities at once: each is asked with its own trust", async () => {
  await using http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
  const other = await certificateAuthority("Another authority");
  await using one = await startPebble({ authority, httpPort: http.port });
  await using two = await startPebble({ authority: other, httpPort: http.port });
  await Promise.all([
    order({ directory: one.directory, challenger: http, ca: authority.ca }),
    order({ directory: two.directory, challenger: http, ca: other.ca }),
  ]);
});

test("a gateway without ACME does not load the library", async () => {
  const script = `
    import { createRequire } from "node:module";
    await import(${JSON.stringify(new URL("../../../src/app.ts", import.meta.url).href)});
    const loaded = Object.keys(createRequire(import.meta.url).cache);
    console.log(loaded.filter((path) => /acme-client|axios|peculiar/.test(path)).length, loaded.length > 0);
  `;
  const { stdout } = await runProcess(process.execPath, ["--input-type=module", "-e", script]);
  assert.equal(stdout, "0 true\n");
});
