import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { asns, countries } from "../support/geo.ts";
import { says } from "../support/postern.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right" };
const AT_HOME = { localAddress: "127.0.1.1" };
const ABROAD = { localAddress: "127.0.2.1" };
const NOWHERE = { localAddress: "127.0.3.1" };
const COUNTRIES = {
  "127.0.1.0/24": "DE",
  "127.0.2.0/24": "CN",
  "2001:db8::/32": "DE",
  "2001:db8:1::/48": "CN",
};
const ASNS = { "127.0.2.0/24": 64500 };
const GEO = { country: "country.mmdb", asn: "asn.mmdb" };
const abroad = (...notCountry: string[]) => ({
  name: "abroad",
  count: "logins",
  per: "ip",
  limit: 0,
  match: { notCountry },
});

async function files() {
  return { "country.mmdb": await countries(COUNTRIES), "asn.mmdb": await asns(ASNS) };
}

/** As geoipupdate does it. */
async function replace(door: Door, content: Uint8Array): Promise<void> {
  const { folder } = door.gateway;
  await rename(await folder.write("country.new", content), folder.at("country.mmdb"));
}

/** The answer to a login: its condition and code alone. */
async function login(door: Door, from: { localAddress: string }, password = "right"): Promise<string> {
  await using client = await door.greetedInTls(from);
  await client.send(`a LOGIN alice@example.org ${password}`);
  return /^a (OK|NO \[\w+\])/.exec((await client.expectUntil("a ")).at(-1) ?? "")?.[1] ?? "";
}

/** So many that every worker has its share. */
const EACH = 4;

async function everybody(door: Door, from: { localAddress: string }, answer: string): Promise<void> {
  for (let times = 0; times < EACH; times++) assert.equal(await login(door, from), answer);
}

for (const workers of [0, 2]) {
  test(`with ${workers} workers nobody from abroad logs in, and a new file counts at once`, async () => {
    await using store = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: USERS,
      files: await files(),
      config: { workers, policy: { exempt: [], geo: GEO, limits: [abroad("DE")] } },
    });
    await everybody(door, AT_HOME, "OK");
    await everybody(door, ABROAD, "NO [AUTHORIZATIONFAILED]");
    await everybody(door, NOWHERE, "NO [AUTHORIZATIONFAILED]");
    assert.equal(await login(door, ABROAD, "wrong"), "NO [AUTHENTICATIONFAILED]");
    assert.equal(await door.gateway.metric("postern_refusals_total", { kind: "forbidden" }), 2 * EACH);
    const record = await door.gateway.account(({ outcome }) => outcome === "forbidden");
    assert.deepEqual([record["country"], record["asn"]], ["CN", "AS64500"]);

    await replace(door, await countries({ ...COUNTRIES, "127.0.2.0/24": "DE" }));
    const told = (message: string) => door.gateway.log().filter(({ msg }) => msg === message);
    await eventually("the new file", () => told("database of places taken").length > 0);
    await eventually("all to have it", async () => {
      const answers = [];
      for (let times = 0; times < EACH; times++) answers.push(await login(door, ABROAD));
      return answers.every((answer) => answer === "OK");
    });

    await replace(door, (await files())["asn.mmdb"]);
    await eventually(
      "a word about it",
      () => told("the new database of places is broken; the old one stays").length > 0,
    );
    await everybody(door, ABROAD, "OK");
    assert.equal(told("the new database of places is broken; the old one stays").length, 1);
    assert.equal(told("database of places taken").length, 1);
  });
}

test("an operator sees where somebody is, and bans a country or an AS", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    files: await files(),
    config: { workers: 2, policy: { exempt: [], geo: GEO, limits: [abroad("DE", "unknown")] } },
  });
  await says(
    door.gateway,
    "explain --ip 127.0.2.1",
    /: a login would be refused, and always will be\nthe address is in CN \(China\), in AS64500\n/,
  );
  await says(
    door.gateway,
    "explain --ip 127.0.2.1",
    /^ {2}abroad: none at all for ip=127\.0\.2\.1; next: refused$/m,
  );
  await says(
    door.gateway,
    "explain --ip 127.0.3.1",
    /: would be let in\nthe address is in an unknown country, in an /,
  );
  await says(
    door.gateway,
    "explain --ip 127.0.2.1 --json",
    /^\{"exempt":false,"country":"CN","asn":"AS64500",/,
  );

  await everybody(door, NOWHERE, "OK");
  for (const [whom, key, from] of [
    ["--country de", "country=DE", AT_HOME],
    ["--asn 64500", "asn=AS64500", ABROAD],
    ["--country unknown", "country=unknown", NOWHERE],
  ] as const) {
    await says(door.gateway, `ban ${whom} --for 30m`, new RegExp(`^${key}: banned by operator until `));
    for (let times = 0; times < EACH; times++) {
      await using refused = await connect({ ...from, port: door.ports.starttls });
      await refused.expect("* BYE ");
    }
    await says(
      door.gateway,
      `explain --ip ${from.localAddress}`,
      new RegExp(`^ {2}${key}: banned by operator`, "m"),
    );
    await says(door.gateway, `unban ${whom}`, /^the ban is lifted\n$/);
    await using again = await connect({ ...from, port: door.ports.starttls });
    await again.expect("* OK ");
  }
  await says(
    door.gateway,
    "ban --country Germany --for 1h",
    /country: "Germany" is neither two letters nor un/,
    1,
  );
  await says(
    door.gateway,
    "ban --asn 0 --for 1h",
    /asn: "0" is neither a number such as AS64500 nor unknown/,
    1,
  );
});

test("a client is where a trusted proxy says that it comes from, by IPv6 too", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  const never = { name: "never", count: "connections", per: "ip", limit: 0, match: { country: ["CN"] } };
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    files: await files(),
    listenerKeys: { proxyProtocol: { from: ["127.0.0.1"] } },
    config: { policy: { exempt: [], geo: GEO, limits: [never] } },
  });
  for (const [header, greeting] of [
    ["TCP4 127.0.1.9 192.0.2.1", "* OK "],
    ["TCP4 127.0.2.9 192.0.2.1", "* BYE [AUTHORIZATIONFAILED] Not allowed from here"],
    ["TCP6 2001:db8::9 2001:db8::1", "* OK "],
    ["TCP6 2001:db8:1::9 2001:db8::1", "* BYE [AUTHORIZATIONFAILED] Not allowed from here"],
    ["TCP6 ::ffff:127.0.2.9 2001:db8::1", "* BYE [AUTHORIZATIONFAILED] Not allowed from here"],
    ["TCP6 2001:db9::9 2001:db8::1", "* OK "],
  ] as const) {
    await using client = await connect({ port: door.ports.starttls, localAddress: "127.0.0.1" });
    await client.sendRaw(`PROXY ${header} 1 143\r\n`);
    await client.expect(greeting);
  }
});

test("where nobody may try a password, a right one is answered as a wrong one", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    files: await files(),
    config: { policy: { exempt: [], geo: GEO, limits: [{ ...abroad("DE"), count: "authFailures" }] } },
  });
  assert.equal(await login(door, ABROAD), "NO [AUTHORIZATIONFAILED]");
  assert.equal(await login(door, ABROAD, "wrong"), "NO [AUTHORIZATIONFAILED]");
  assert.equal(await login(door, AT_HOME, "wrong"), "NO [AUTHENTICATIONFAILED]");
  assert.equal(await login(door, AT_HOME), "OK");
});

test("a server from a forbidden country brings no mail, and hears it for good", async () => {
  await using backend = await startScriptedSmtp({});
  const noMail = { name: "noMail", count: "messages", per: "country", limit: 0, match: { country: "CN" } };
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    domains: { backend: "example.org" },
    files: await files(),
    config: { policy: { exempt: [], geo: GEO, limits: [noMail] } },
  });
  for (const [from, answer] of [
    [AT_HOME, "250 "],
    [ABROAD, "554 5.7.1 Not allowed from here"],
  ] as const) {
    await using client = await door.fromServer(from);
    await client.send("MAIL FROM:<a@example.net>");
    await client.expect("250 ");
    await client.send("RCPT TO:<alice@example.org>");
    await client.expect(answer);
  }
});

test("a gateway whose file cannot be used does not start, and says where it is named", async () => {
  const opening = openDoor({
    authority: await certificateAuthority(),
    backends: {},
    users: USERS,
    files: { ...(await files()), "country.mmdb": "nothing" },
    config: { policy: { geo: GEO }, backends: { b: { host: "127.0.0.1", protocols: { imap: 1 } } } },
  });
  await assert.rejects(opening, /postern\.yaml:\d+:\d+: policy\.geo\.country: is no MaxMind database/);
});
