import assert from "node:assert/strict";
import { test } from "node:test";
import { type Authority, certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { startDovecot } from "../support/dovecot.ts";
import { type Gateway, startGateway } from "../support/gateway.ts";
import { freePorts } from "../support/ports.ts";
import { runProcess } from "../support/processes.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { plain } from "../support/smtp-door.ts";
import { temporaryFolder } from "../support/temp.ts";

const ALICE = "alice@example.org";
const BOB = "bob@example.org";
const PASSWORD = "correct-horse";
/** Hydra binds no address of its own. */
const ATTACKER = "127.0.0.1";
const HOME = "127.0.0.2";
const ELSEWHERE = "127.0.0.3";
const PER_NETWORK = 20;
const PER_USER = 25;

/** The default limits on guesses, but that a user's is small enough to be full soon. */
const LIMITS = [
  {
    name: "guesses",
    count: "authFailures",
    per: "ip",
    limit: `${PER_NETWORK}/10m`,
    then: { ban: "15m", upTo: "1d" },
  },
  { name: "owner", count: "authFailures", per: ["user", "ip"], limit: "5/10m", then: { delay: "1s" } },
  { name: "attacked", count: "authFailures", per: "user", limit: `${PER_USER}/1h` },
];

const NAMES = ["imap", "imaps", "pop3", "pop3s", "submission", "submissions", "sieve"] as const;
type Name = (typeof NAMES)[number];
type Ports = Readonly<Record<Name, number>>;

/** How hydra calls each way in; ManageSieve is none of its. */
const MODULES: Readonly<
  Record<string, { readonly name: Name; readonly service: string; readonly options: string }>
> = {
  "IMAP in clear text": { name: "imap", service: "imap", options: "PLAIN" },
  "IMAP by LOGIN": { name: "imap", service: "imap", options: "CLEAR" },
  "IMAP by STARTTLS": { name: "imap", service: "imap", options: "TLS:LOGIN" },
  IMAPS: { name: "imaps", service: "imaps", options: "PLAIN" },
  "POP3 in clear text": { name: "pop3", service: "pop3", options: "CLEAR" },
  "POP3 by STLS": { name: "pop3", service: "pop3", options: "TLS:PLAIN" },
  POP3S: { name: "pop3s", service: "pop3s", options: "CLEAR" },
  "submission in clear text": { name: "submission", service: "smtp", options: "LOGIN" },
  "submission by STARTTLS": { name: "submission", service: "smtp", options: "TLS:PLAIN" },
  submissions: { name: "submissions", service: "smtps", options: "LOGIN" },
};

interface Place extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly ports: Ports;
  readonly authority: Authority;
}

async function open(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const authority = await certificateAuthority();
  const own = await authority.issue(["localhost", "127.0.0.1"]);
  const users = { [ALICE]: PASSWORD, [BOB]: PASSWORD };
  const store = stack.use(await startDovecot({ tls: "none", users, pop3: true, sieve: true }));
  const smtp = stack.use(await startScriptedSmtp({ auth: true }));
  const numbers = await freePorts(NAMES.length);
  const ports = Object.fromEntries(NAMES.map((name, at) => [name, numbers[at]])) as Ports;
  const listener = (name: Name) => ({
    name,
    protocol: name.replace(/s$/, ""),
    port: ports[name],
    host: "127.0.0.1",
    // Hydra is let try everything, clear text too.
    ...(name.endsWith("s") ? { tls: "implicit" } : { requireTls: false }),
  });
  const gateway = stack.use(
    await startGateway({
      users,
      files: { "door.pem": own.cert, "door.key": own.key },
      config: {
        tls: { certificates: [{ cert: "door.pem", key: "door.key" }] },
        listeners: NAMES.map(listener),
        backends: {
          store: {
            host: store.host,
            tls: "none",
            protocols: {
              imap: store.port,
              pop3: store.pop3Ports.plain,
              sieve: store.sievePorts.plain,
            },
          },
          smtp: { host: smtp.host, tls: "none", protocols: { submission: smtp.port } },
        },
        routes: [{ match: { protocol: "submission" }, to: "smtp" }, { to: "store" }],
        policy: { exempt: [], limits: LIMITS },
      },
    }),
  );
  const kept = stack.move();
  return {
    gateway,
    ports,
    authority,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Hydra 9.4 waits for ever for a greeting that comes behind the tickets of TLS 1.3. */
const OLD_TLS = `openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = old
[old]
MaxProtocol = TLSv1.2
`;

interface Attack {
  readonly found: boolean;
  readonly output: string;
}

/** Hydra by one of its modules; its words are a list with the right one at its end. */
async function hydra({ ports }: Place, way: string, user: string, words: readonly string[]): Promise<Attack> {
  await using folder = await temporaryFolder();
  const module = MODULES[way];
  assert.ok(module);
  const list = await folder.write("words", words.map((word) => `${word}\n`).join(""));
  const target = `${module.service}://127.0.0.1:${ports[module.name]}/${module.options}`;
  const { stdout, stderr } = await runProcess(
    "hydra",
    ["-I", "-l", user, "-P", list, "-t", "4", "-f", "-V", target],
    {
      name: `hydra, ${way}`,
      cwd: folder.path,
      env: { OPENSSL_CONF: await folder.write("openssl.cnf", OLD_TLS) },
      timeoutMs: 60_000,
    },
  );
  const output = stdout + stderr;
  return { found: /^\[\d+\]\[.*password: /m.test(output), output };
}

/** What the owner does: he signs in, with the right password, and is in. */
const SIGN_IN: Readonly<
  Record<Name, (client: Conversation, user: string, password: string) => Promise<string>>
> = {
  imap: signInToImap,
  imaps: signInToImap,
  pop3: signInToPop3,
  pop3s: signInToPop3,
  submission: signInToSmtp,
  submissions: signInToSmtp,
  async sieve(client, user, password) {
    await client.expectUntil("OK");
    await client.send(`AUTHENTICATE "PLAIN" "${plain(user, password)}"`);
    return client.expect(/^(OK|NO|BYE)/);
  },
};

async function signInToImap(client: Conversation, user: string, password: string): Promise<string> {
  await client.expect("* OK ");
  await client.send(`a LOGIN ${user} ${password}`);
  return (await client.expectUntil(/^(a |\* BYE)/)).at(-1) ?? "";
}

async function signInToPop3(client: Conversation, user: string, password: string): Promise<string> {
  await client.expect("+OK ");
  await client.send(`USER ${user}`);
  await client.expect("+OK");
  await client.send(`PASS ${password}`);
  return client.expect(/^[+-]/);
}

async function signInToSmtp(client: Conversation, user: string, password: string): Promise<string> {
  await client.expect("220 ");
  await client.send("EHLO client.example.org");
  await client.expectUntil("250 ");
  await client.send(`AUTH PLAIN ${plain(user, password)}`);
  return client.expect(/^\d/);
}

const IN = /^(a OK|\+OK|235 |OK)/;

async function connectTo(
  { ports, authority }: Place,
  name: Name,
  localAddress: string,
): Promise<Conversation> {
  const tls = name.endsWith("s") ? { tls: { ca: authority.ca, servername: "localhost" } } : {};
  return connect({ port: ports[name], localAddress, name, ...tls });
}

async function signIn(place: Place, name: Name, from: string, password = PASSWORD): Promise<string> {
  await using client = await connectTo(place, name, from);
  return await SIGN_IN[name](client, ALICE, password);
}

/** Someone's guesses at one listener, a connection each, until he is not greeted any more. */
async function guess(place: Place, name: Name, from: string, words: readonly string[]): Promise<number> {
  let answered = 0;
  for (const word of words) {
    const answer = await signIn(place, name, from, word).catch(() => undefined);
    if (answer === undefined) break;
    assert.doesNotMatch(answer, IN);
    answered += 1;
  }
  return answered;
}

const wordsFor = (way: string) => [
  ...Array.from({ length: 30 }, (_, n) => `${way.replaceAll(" ", "-")}-${n}`),
  PASSWORD,
];

/** How many passwords somebody has looked at, by what came of it. */
const looked = ({ gateway }: Place, outcome: string) => gateway.metric("postern_logins_total", { outcome });

test("hydra finds a password that it is given, in every way in that it knows", {
  timeout: 300_000,
}, async () => {
  await using place = await open();
  for (const way of Object.keys(MODULES)) {
    const { found, output } = await hydra(place, way, BOB, [PASSWORD]);
    assert.ok(found, `${way}\n${output}`);
  }
  assert.equal(await looked(place, "ok"), Object.keys(MODULES).length);
});

test("hydra against all protocols at once is stopped within the limit, while the owner keeps signing in", {
  timeout: 300_000,
}, async (t) => {
  await using place = await open();
  // He has been here before: once, by one protocol.
  assert.match(await signIn(place, "imaps", HOME), IN);
  const before = await looked(place, "ok");

  let over = false;
  let owners = 0;
  const owner = async () => {
    do
      for (const name of NAMES) {
        assert.match(await signIn(place, name, HOME), IN, `the owner by ${name}`);
        owners += 1;
      }
    while (!over);
  };
  const attacks = Promise.all([
    guess(place, "sieve", ATTACKER, wordsFor("sieve")),
    ...Object.keys(MODULES).map(async (way) => {
      const { found, output } = await hydra(place, way, ALICE, wordsFor(way));
      assert.equal(found, false, `${way}\n${output}`);
      return output.match(/^\[ATTEMPT\]/gm)?.length ?? 0;
    }),
  ]).finally(() => {
    over = true;
  });
  const [tries] = await Promise.all([attacks, owner()]);

  assert.equal(await looked(place, "badCredential"), PER_NETWORK);
  assert.equal((await looked(place, "ok")) - before, owners);
  assert.ok(owners >= NAMES.length);

  // Whoever is banned is not greeted; where TLS comes first there is not even a handshake.
  for (const name of NAMES)
    if (name.endsWith("s")) await assert.rejects(connectTo(place, name, ATTACKER), name);
    else {
      await using client = await connectTo(place, name, ATTACKER);
      const said = await client.readToClose();
      assert.ok(said.length <= 1 && !said.some((line) => /^(\* OK|\+OK|220|OK)/.test(line)), said.join("\n"));
    }

  // The rest of what a user's name may be guessed at, from other networks: then it is full for all of those.
  const rest = PER_USER - PER_NETWORK;
  assert.equal(
    await guess(
      place,
      "sieve",
      ELSEWHERE,
      Array.from({ length: rest }, (_, n) => `more-${n}`),
    ),
    rest,
  );
  assert.equal(await looked(place, "badCredential"), PER_USER);
  for (const name of NAMES) {
    assert.doesNotMatch(await signIn(place, name, "127.0.0.4"), IN, `a stranger by ${name}`);
    assert.match(await signIn(place, name, HOME), IN, `the owner by ${name}`);
  }
  assert.equal(await looked(place, "badCredential"), PER_USER);
  const sent = tries.reduce((sum, n) => sum + n, 0);
  t.diagnostic(`${sent} tries, ${PER_NETWORK} looked at; the owner signed in ${owners} times of ${owners}`);
});
