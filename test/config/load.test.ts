// biome-ignore-all lint/suspicious/noThenProperty: the key's name in the contract
import assert from "node:assert/strict";
import { hostname } from "node:os";
import { describe, test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const folder = newFolder();
const path = `${folder}/postern.yaml`;
const load = (sections: Record<string, string | undefined> = {}) => mustLoad(fileWith(sections), path);

describe("what a short file leaves out has a good default", () => {
  const config = load();

  test("the machine's name, one worker a core, data beside the file", () => {
    assert.equal(config.hostname, hostname());
    assert.equal(config.workers, "auto");
    assert.equal(config.dataDir, `${folder}/data`);
  });

  test("a listener asks for TLS before passwords and is named after its protocol and port", () => {
    assert.deepEqual(config.listeners, [
      { protocol: "imap", port: 1143, name: "imap-1143", tls: "starttls", requireTls: true },
    ]);
  });

  test("a backend is reached by STARTTLS and believed only with a good certificate", () => {
    assert.deepEqual(config.backends["alpha"], {
      host: "alpha.internal",
      tls: "starttls",
      protocols: { imap: { port: 143, tls: "starttls", identity: "auto" } },
      trust: { insecure: false },
      login: "passthrough",
      identity: "auto",
      helo: "own",
    });
  });

  test("limits on connections, guesses, open sessions and mail on its way, none for this machine", () => {
    const { limits, ...rest } = config.policy;
    assert.deepEqual(rest, {
      store: "memory",
      onStoreFailure: "local",
      mode: "enforce",
      exempt: ["127.0.0.0/8", "::1"],
      ipv6Prefix: 64,
      geo: {},
    });
    assert.deepEqual(
      limits.map(({ count, per, limit, then }) => [count, per.join(), limit.points, limit.windowMs, then]),
      [
        ["connections", "ip", 300, 60_000, "refuse"],
        ["authFailures", "ip", 20, 600_000, { ban: 900_000, upTo: 86_400_000 }],
        ["authFailures", "user,ip", 5, 600_000, { delay: 5_000 }],
        ["authFailures", "user", 50, 3_600_000, "refuse"],
        ["sessions", "user", 50, undefined, "refuse"],
        ["messages", "user", 200, 3_600_000, "refuse"],
        ["recipients", "user", 1_000, 3_600_000, "refuse"],
      ],
    );
  });

  test("timeouts in milliseconds, an admin server on loopback, a log in JSON", () => {
    assert.deepEqual(config.timeouts, {
      handshake: 10_000,
      login: 60_000,
      connect: 5000,
      drain: 300_000,
      imapIdle: 1_800_000,
      pop3Idle: 600_000,
      smtpIdle: 300_000,
    });
    assert.deepEqual(config.admin, { host: "127.0.0.1", port: 8025 });
    assert.deepEqual(config.logging, { level: "info", format: "json" });
    assert.deepEqual(config.authentication.mechanisms, ["PLAIN", "LOGIN", "EXTERNAL"]);
    assert.equal(config.authentication.cache.ttl, 60_000);
    assert.deepEqual(config.routes, []);
  });
});

describe("what can be written in two ways is loaded in one", () => {
  test("a protocol's port takes the backend's TLS and identity unless it has its own", () => {
    const { backends } = load({
      backends: `backends:
  plain: { host: 127.0.0.1, tls: none, identity: none, protocols: { imap: 143 } }
  mixed: { host: b, protocols: { imap: { port: 993, tls: implicit, identity: proxy-v2 } } }`,
    });
    assert.deepEqual(backends["plain"]?.protocols.imap, { port: 143, tls: "none", identity: "none" });
    assert.deepEqual(backends["mixed"]?.protocols.imap, {
      port: 993,
      tls: "implicit",
      identity: "proxy-v2",
    });
  });

  test("one value or a list of them is a list", () => {
    const [one, several] = load({
      routes: `routes:
  - { match: { user: a@b.c, protocol: imap }, to: alpha }
  - { match: { domain: [d.e, f.g] }, to: alpha, loginAs: "{local}@{domain}" }`,
    }).routes;
    assert.deepEqual(one?.match, { user: ["a@b.c"], protocol: ["imap"] });
    assert.deepEqual(several?.match, { domain: ["d.e", "f.g"] });
  });

  test("a master login, a delay and a limit as a number", () => {
    const config = load({
      backends: `backends: { m: { host: b, protocols: { imap: 1 }, login: { master: { user: u, password: p, separator: "*" } } } }`,
      policy: `policy: { limits: [{ name: a, count: sessions, per: [user, ip], limit: 3, then: { delay: 5s } }] }`,
    });
    assert.deepEqual(config.backends["m"]?.login, { master: { user: "u", password: "p", separator: "*" } });
    assert.deepEqual(config.policy.limits[0]?.limit, { points: 3 });
    assert.deepEqual(config.policy.limits[0]?.then, { delay: 5000 });
  });

  test("an alias is a copy of what it names, each with its own place", () => {
    const config = load({
      backends: `backends:
  a: { host: a, protocols: &ports { imap: 143 } }
  b: { host: b, tls: implicit, protocols: *ports }`,
    });
    assert.deepEqual(config.backends["a"]?.protocols, {
      imap: { port: 143, tls: "starttls", identity: "auto" },
    });
    assert.deepEqual(config.backends["b"]?.protocols, {
      imap: { port: 143, tls: "implicit", identity: "auto" },
    });
  });
});

test("a loaded configuration cannot be changed", () => {
  const config = load();
  for (const part of [
    config,
    config.listeners,
    config.listeners[0],
    config.backends,
    config.policy.limits[0]?.per,
  ])
    assert.ok(Object.isFrozen(part));
});

test("a backend's name is found only if the file has it", () => {
  assert.equal(load().backends["constructor"], undefined);
  const named = load({ backends: "backends: { constructor: { host: a, protocols: { imap: 1 } } }" });
  assert.equal(named.backends["constructor"]?.host, "a");
});

test("two addresses on one port, and free ports, are no conflict", () => {
  const { listeners } = load({
    listeners: `listeners:
  - { protocol: imap, port: 143, host: 127.0.0.1, name: a }
  - { protocol: imap, port: 143, host: 127.0.0.2, name: b }
  - { protocol: imap, port: 0, name: c }
  - { protocol: imap, port: 0, name: d }`,
  });
  assert.equal(listeners.length, 4);
});

describe("what is dangerous but was asked for is a warning where it stands", () => {
  const cases: [string, Record<string, string | undefined>, string, RegExp][] = [
    [
      "passwords before TLS",
      { listeners: "listeners: [{ protocol: imap, port: 1, requireTls: false }]" },
      "2:52: listeners[0].requireTls",
      /clear text/,
    ],
    [
      "requireTls without effect",
      { listeners: "listeners: [{ protocol: imap, port: 1, tls: implicit, requireTls: false }]" },
      "2:67: listeners[0].requireTls",
      /always on/,
    ],
    [
      "a backend in clear text",
      { backends: "backends: { a: { host: b, tls: none, protocols: { imap: 1 } } }" },
      "4:32: backends.a.tls",
      /clear text/,
    ],
    [
      "a backend's protocol in clear text",
      { backends: "backends: { a: { host: b, protocols: { imap: { port: 1, tls: none } } } }" },
      "4:62: backends.a.protocols.imap.tls",
      /clear text/,
    ],
    [
      "any certificate",
      { backends: "backends: { a: { host: b, protocols: { imap: 1 }, trust: { insecure: true } } }" },
      "4:70: backends.a.trust.insecure",
      /any certificate/,
    ],
    [
      "a proxy anywhere",
      {
        listeners:
          "listeners: [{ protocol: imap, port: 1, proxyProtocol: { from: [0.0.0.0/0], insecureFromAnywhere: true } }]",
      },
      "2:64: listeners[0].proxyProtocol.from[0]",
      /believes anybody/,
    ],
    [
      "a route behind one for everyone",
      { routes: "routes: [{ to: alpha }, { to: alpha }]" },
      "5:25: routes[1]",
      /never reached/,
    ],
    [
      "everyone exempt",
      { policy: "policy: { exempt: [0.0.0.0/0] }" },
      "5:20: policy.exempt[0]",
      /switches the policy off/,
    ],
  ];
  for (const [name, sections, place, message] of cases)
    test(name, () => {
      const result = parseConfig(fileWith(sections), path, {});
      const [line = "", ...rest] = linesOf(result, "warnings");
      assert.ok(result.ok);
      assert.ok(line.startsWith(`${path}:${place}: `), line);
      assert.match(line, message);
      assert.deepEqual(rest, []);
    });

  test("no certificate, where no listener insists on one", () => {
    const listeners = "listeners: [{ protocol: imap, port: 1, requireTls: false }]";
    const result = parseConfig(fileWith({ tls: undefined, listeners }), path, {});
    assert.ok(result.ok);
    assert.match(linesOf(result, "warnings").join("\n"), /tls: has no certificate/);
  });

  test("a clear-text backend on this machine is none", () => {
    const backends =
      "backends: { a: { host: 127.0.0.1, tls: none, protocols: { imap: 1 } }, b: { host: '::1', tls: none, protocols: { imap: 2 } } }";
    assert.deepEqual(parseConfig(fileWith({ backends }), path, {}).warnings, []);
  });
});
