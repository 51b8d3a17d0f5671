import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { fileWith, GOOD, linesOf, newFolder } from "./workspace.ts";

const path = `${newFolder()}/postern.yaml`;

/** What is wrong, the section it is in with ▸ before the place, the key, and what is said about it. */
type Row = readonly [name: string, section: string, key: string, message: RegExp];

const listener = (rest: string) => `listeners: [{ protocol: imap, ${rest} }]`;
const backend = (rest: string) => `backends: { alpha: { host: a, protocols: { imap: 143 }, ${rest} } }`;
const webhook = (rest: string) => `policy: { events: { webhook: { ${rest} } } }`;
const limit = (rest: string) => `policy: { limits: [{ name: x, ${rest} }] }`;

const ROWS: Record<string, readonly Row[]> = {
  keys: [
    [
      "unknown at the top",
      "▸lisenters: []",
      "lisenters",
      /not a known key; did you mean listeners\? \(valid: hostname, workers/,
    ],
    [
      "unknown in an entry",
      listener("port: 1, ▸hots: a"),
      "listeners[0].hots",
      /did you mean host\? \(valid: protocol, port, name, host, tls, requireTls, proxyProtocol, xclient, clientCertificate\)/,
    ],
    [
      "unknown and unlike any",
      "logging: { ▸colour: red }",
      "logging.colour",
      /is not a known key \(valid: level, format\)/,
    ],
    ["of a later version", "▸pools: {}", "pools", /is not a known key \(valid: /],
    [
      "unknown in a variant",
      backend("login: { master: { user: a, password: b, ▸seperator: c } }"),
      "backends.alpha.login.master.seperator",
      /did you mean separator/,
    ],
    [
      "unknown in the variant that was most likely meant",
      "policy: { limits: [{ name: a, count: logins, per: ip, limit: 1/1m, then: { ban: 1m, ▸upTp: 1h } }] }",
      "policy.limits[0].then.upTp",
      /did you mean upTo\? \(valid: ban, upTo\)/,
    ],
    [
      "unknown in a source",
      "authentication: { sources: [{ type: file, path: users.yaml, ▸url: x }] }",
      "authentication.sources[0].url",
      /\(valid: type, path\)/,
    ],
    ["twice", listener("port: 1, ▸port: 2"), "listeners[0].port", /stands here twice/],
    [
      "missing",
      "listeners: [▸{ protocol: imap }]",
      "listeners[0].port",
      /is missing \(valid: a whole number from 0 to 65535\)/,
    ],
    [
      "missing, several lines below",
      "backends:\n  alpha:\n    ▸host: a",
      "backends.alpha.protocols",
      /is missing/,
    ],
    ["not text", "admin: { ▸[a]: b }", "admin", /a key that is not plain text/],
    ["a merge, which YAML 1.2 has not", "admin: { ▸<<: { port: 1 } }", 'admin["…"]', /is not a known key/],
    [
      "__proto__",
      "backends: { alpha: { host: a, protocols: { imap: 1 } }, ▸__proto__: { host: a, protocols: { imap: 1 } } }",
      "backends.__proto__",
      /is not a valid name/,
    ],
    ["constructor", "tls: { selfSigned: true, ▸constructor: {} }", "tls.constructor", /is not a known key/],
    [
      "a backend's name with a space",
      'backends: { alpha: { host: a, protocols: { imap: 1 } }, ▸"a b": {} }',
      'backends["…"]',
      /is not a valid name/,
    ],
  ],
  values: [
    [
      "a number in quotes",
      listener('port: ▸"10"'),
      "listeners[0].port",
      /quotes; .*\(found "10"; valid: a whole number from 0 to 65535\)/,
    ],
    ["a port too large", listener("port: ▸65536"), "listeners[0].port", /out of range \(found 65536/],
    ["a negative port", listener("port: ▸-1"), "listeners[0].port", /out of range/],
    ["a broken port", listener("port: ▸1.5"), "listeners[0].port", /found 1.5/],
    ["NaN", listener("port: ▸.nan"), "listeners[0].port", /found NaN/],
    ["infinity", listener("port: ▸.inf"), "listeners[0].port", /found Infinity/],
    ["nothing", "listeners:\n  - protocol: imap\n    ▸port:", "listeners[0].port", /has no value/],
    ["no type", "policy:\n  hooks:\n    - name: a\n      ▸type:", "policy.hooks[0].type", /has no value/],
    [
      "a protocol that is none of ours",
      "listeners: [{ protocol: ▸nntp, port: 1 }]",
      "listeners[0].protocol",
      /found "nntp"; valid: imap, /,
    ],
    [
      "none for a listener's TLS",
      listener("port: 1, tls: ▸none"),
      "listeners[0].tls",
      /valid: starttls, implicit/,
    ],
    [
      "yes for true",
      listener("port: 1, requireTls: ▸yes"),
      "listeners[0].requireTls",
      /found "yes"; valid: true, false/,
    ],
    ["no listener", "listeners: ▸[]", "listeners", /at least one/],
    ["a mapping for a list", "listeners: ▸{}", "listeners", /found a mapping/],
    [
      "a listener's name with a space",
      listener('port: 1, name: ▸"a b"'),
      "listeners[0].name",
      /a name of letters/,
    ],
    [
      "a host with a port",
      backend("trust: { serverName: ▸a.example:143 }"),
      "backends.alpha.trust.serverName",
      /without port/,
    ],
    ["a host in brackets", 'admin: { host: ▸"[::1]" }', "admin.host", /without port or brackets/],
    ["half an IPv4 address", "admin: { host: ▸127.0.1 }", "admin.host", /found/],
    ["a duration without a unit", 'timeouts: { login: ▸"60" }', "timeouts.login", /a duration such as/],
    [
      "a number for a duration",
      "timeouts: { login: ▸60 }",
      "timeouts.login",
      /text, not a number .*a duration such as/,
    ],
    ["a timeout of nothing", "timeouts: { login: ▸0s }", "timeouts.login", /more than 0/],
    ["longer than a timer", "timeouts: { drain: ▸25d }", "timeouts.drain", /at most 24d/],
    ["workers", "workers: ▸many", "workers", /valid: auto, or a whole number, 0 or more/],
    ["negative workers", "workers: ▸-1", "workers", /valid: auto, or/],
    [
      "an unknown mechanism",
      "authentication: { mechanisms: [PLAIN, ▸NTLM], sources: [{ type: file, path: users.yaml }] }",
      "authentication.mechanisms[1]",
      /valid: PLAIN, LOGIN/,
    ],
    [
      "an unknown source",
      "authentication: { sources: [{ type: ▸ldap, path: a }] }",
      "authentication.sources[0].type",
      /found "ldap"; valid: file/,
    ],
    [
      "a source without a type",
      "authentication: { sources: [▸{ path: a }] }",
      "authentication.sources[0].type",
      /is missing \(valid: file\)/,
    ],
    [
      "a source's own key",
      "authentication: { sources: [{ type: file, path: ▸1 }] }",
      "authentication.sources[0].path",
      /text, not a number/,
    ],
    [
      "a backend without protocols",
      "backends: { alpha: { host: a, protocols: ▸{} } }",
      "backends.alpha.protocols",
      /at least one/,
    ],
    ["no backends", "backends: ▸{}", "backends", /at least one/],
    [
      "port 0 of a backend",
      "backends: { alpha: { host: a, protocols: { imap: ▸0 } } }",
      "backends.alpha.protocols.imap",
      /a port from 1 to 65535, or \{ port/,
    ],
    [
      "a port's own TLS",
      "backends: { alpha: { host: a, protocols: { imap: { port: 1, tls: ▸on } } } }",
      "backends.alpha.protocols.imap.tls",
      /none, starttls, implicit/,
    ],
    ["a pin", backend("trust: { pin: ▸sha256/abc }"), "backends.alpha.trust.pin", /base64 of 32 bytes/],
    [
      "a login",
      backend("login: ▸master"),
      "backends.alpha.login",
      /found text; valid: passthrough, \{ master/,
    ],
    [
      "a line break in a master's name",
      backend('login: { master: { user: ▸"a\\r\\nb", password: c } }'),
      "backends.alpha.login.master.user",
      /without control/,
    ],
    [
      "an identity that nothing has",
      backend("identity: ▸xforward"),
      "backends.alpha.identity",
      /valid: auto, none, proxy-v1/,
    ],
    [
      "a network's prefix",
      "policy: { exempt: [10.0.0.0/8, ▸10.0.0.0/33] }",
      "policy.exempt[1]",
      /found "10.0.0.0\/33"; valid: an IP address or a network/,
    ],
    ["an IPv6 network's prefix", 'policy: { exempt: [▸"::/129"] }', "policy.exempt[0]", /network/],
    ["no network", "policy: { exempt: [▸example.org] }", "policy.exempt[0]", /network/],
    [
      "a proxy that is no network",
      listener("port: 1, proxyProtocol: { from: [▸balancer] }"),
      "listeners[0].proxyProtocol.from[0]",
      /found "balancer"; valid: an IP address or a network/,
    ],
    ["no proxies", listener("port: 1, proxyProtocol: ▸{}"), "listeners[0].proxyProtocol.from", /is missing/],
    [
      "an empty list of proxies",
      listener("port: 1, proxyProtocol: { from: ▸[] }"),
      "listeners[0].proxyProtocol.from",
      /at least one/,
    ],
    ["an IPv6 prefix", "policy: { ipv6Prefix: ▸0 }", "policy.ipv6Prefix", /from 1 to 128/],
    ["a store that is none", "policy: { store: ▸http://a }", "policy.store", /valid: memory/],
    ["a limit", limit("count: sessions, per: ip, limit: ▸5/m"), "policy.limits[0].limit", /NUMBER\/DURATION/],
    [
      "a limit of less than none",
      limit("count: sessions, per: ip, limit: ▸-1"),
      "policy.limits[0].limit",
      /NUMBER\/DURATION/,
    ],
    [
      "what is counted",
      limit("count: ▸commands, per: ip, limit: 5"),
      "policy.limits[0].count",
      /connections, logins, authFailures, sessions/,
    ],
    [
      "what it is counted by",
      limit("count: sessions, per: ▸shoe size, limit: 5"),
      "policy.limits[0].per",
      /ip, user, domain, listener, protocol, backend, country, asn, or a list of them/,
    ],
    [
      "one of what it is counted by",
      limit("count: sessions, per: [ip, ▸shoe size], limit: 5"),
      "policy.limits[0].per[1]",
      /found "shoe size"; valid: ip, user, domain, listener, protocol, backend, country, asn\)/,
    ],
    [
      "counted by nothing",
      limit("count: sessions, per: ▸[], limit: 5"),
      "policy.limits[0].per",
      /at least one/,
    ],
    [
      "counted by one thing twice",
      limit("count: sessions, per: ▸[ip, ip], limit: 5"),
      "policy.limits[0].per",
      /twice/,
    ],
    ["an event sink that is none", "policy: { events: { ▸mail: x } }", "policy.events.mail", /webhook/],
    [
      "a webhook without its secret",
      "policy: { events: { webhook: ▸{ url: https://a.example/ } } }",
      "policy.events.webhook.secret",
      /missing/,
    ],
    [
      "a webhook that is no web server",
      webhook("url: ▸ftp://a.example/, secret: swordfish-swordfish"),
      "policy.events.webhook.url",
      /is not the address of a web server \(valid: https/,
    ],
    [
      "a webhook with a password in its address",
      webhook('url: ▸"https://u:p@a.example/", secret: swordfish-swordfish'),
      "policy.events.webhook.url",
      /without user and password/,
    ],
    [
      "a webhook in clear text",
      webhook('url: ▸"http://a.example/", secret: swordfish-swordfish'),
      "policy.events.webhook.url",
      /would let names and addresses cross the network in clear text .*insecure: true/,
    ],
    [
      "a short secret",
      webhook("url: https://a.example/, secret: ▸swordfish"),
      "policy.events.webhook.secret",
      /too short: 9 characters/,
    ],
    [
      "a kind of event that is none",
      webhook("url: https://a.example/, secret: swordfish-swordfish, kinds: [ban, ▸login]"),
      "policy.events.webhook.kinds[1]",
      /ban, unban, limit, suspected/,
    ],
    [
      "a webhook's time",
      webhook("url: https://a.example/, secret: swordfish-swordfish, timeout: ▸1m"),
      "policy.events.webhook.timeout",
      /at most 10s/,
    ],
    [
      "one file for two",
      "policy: { events: { file: a.log, nftables: ▸a.log } }",
      "policy.events.nftables",
      /is the file of the lines, too/,
    ],
    [
      "what then",
      limit("count: sessions, per: ip, limit: 5, then: ▸explode"),
      "policy.limits[0].then",
      /refuse, alert, \{ delay: DURATION \} or \{ ban/,
    ],
    [
      "networks by network",
      limit("count: networks, per: ▸[user, ip], limit: 5/1h"),
      "policy.limits[0].per",
      /cannot have several networks \(found user, ip; valid: user or domain/,
    ],
    [
      "networks of nobody",
      limit("count: networks, per: ▸listener, limit: 5/1h"),
      "policy.limits[0].per",
      /cannot have several networks .*user or domain/,
    ],
    [
      "networks at once",
      limit("count: networks, per: user, limit: ▸5"),
      "policy.limits[0].limit",
      /needs a period/,
    ],
    [
      "refused recipients where none are named",
      limit("count: refusedRecipients, per: ip, limit: 5/1h, match: { protocol: ▸imap }"),
      "policy.limits[0].match.protocol",
      /valid: submission, smtp/,
    ],
    [
      "how long then",
      limit("count: sessions, per: ip, limit: 5, then: { ban: ▸1w }"),
      "policy.limits[0].then.ban",
      /a duration such as/,
    ],
    [
      "both then",
      limit("count: sessions, per: ip, limit: 5, then: ▸{ ban: 1h, delay: 1s }"),
      "policy.limits[0].then",
      /found a mapping; valid: refuse/,
    ],
    [
      "a placeholder",
      'routes: [{ to: alpha, loginAs: ▸"{name}" }]',
      "routes[0].loginAs",
      /\{user\}, \{local\} and \{domain\}/,
    ],
    ["an open brace", 'routes: [{ to: alpha, loginAs: ▸"{user" }]', "routes[0].loginAs", /\{user\}/],
    [
      "a line break in a name",
      'routes: [{ to: alpha, loginAs: ▸"{user}\\n" }]',
      "routes[0].loginAs",
      /found/,
    ],
    [
      "no domain to match",
      "routes: [{ to: alpha, match: { domain: ▸[] } }]",
      "routes[0].match.domain",
      /at least one/,
    ],
    ["a level", "logging: { level: ▸loud }", "logging.level", /trace, debug, info, warn, error/],
  ],
  "settings that do not go together": [
    ...["0.0.0.0/0", '"::/0"', "0.0.0.0/1", '"::ffff:0:0/96"', '"2000::/3"'].flatMap((network) =>
      ["proxyProtocol", "xclient"].map(
        (key): Row => [
          `${key} from anywhere: ${network}`,
          `listeners: [{ protocol: smtp, port: 1, ${key}: { from: [10.0.0.0/8, ▸${network}] } }]`,
          `listeners[0].${key}.from[1]`,
          /believe anybody.*insecureFromAnywhere: true/,
        ],
      ),
    ),
    [
      "xclient where nobody knows it",
      listener("port: 1, xclient: ▸{ from: [10.0.0.0/8] }"),
      "listeners[0].xclient",
      /means nothing to imap/,
    ],
    [
      "two listeners on one port",
      "listeners:\n  - { protocol: imap, port: 143 }\n  - { protocol: imap, port: ▸143 }",
      "listeners[1].port",
      /taken by the listener imap-143/,
    ],
    [
      "one address within all",
      "listeners:\n  - { protocol: imap, port: 143 }\n  - { protocol: imap, port: ▸143, host: 127.0.0.1, name: b }",
      "listeners[1].port",
      /taken/,
    ],
    [
      "one IPv6 address in two spellings",
      'listeners:\n  - { protocol: imap, port: 143, host: "::1" }\n  - { protocol: imap, port: ▸143, host: "0:0::0001", name: b }',
      "listeners[1].port",
      /taken/,
    ],
    [
      "two listeners of one name",
      "listeners:\n  - { protocol: imap, port: 1, name: a }\n  - { protocol: imap, port: 2, name: ▸a }",
      "listeners[1].name",
      /earlier listener/,
    ],
    [
      "two free ports and no names",
      "listeners:\n  - { protocol: imap, port: 0 }\n  - ▸{ protocol: imap, port: 0 }",
      "listeners[1].name",
      /earlier listener/,
    ],
    [
      "the admin server on a listener's port",
      "admin: { port: ▸1143 }",
      "admin.port",
      /taken by the listener imap-1143/,
    ],
    ["an open admin server without a token", "admin: { host: ▸0.0.0.0 }", "admin.host", /needs admin.token/],
    ["no certificate", "tls: ▸{}", "tls", /has no certificate/],
    [
      "an unknown backend",
      "routes: [{ to: ▸beta }]",
      "routes[0].to",
      /not the name of a backend \(found beta; valid: alpha\)/,
    ],
    [
      "a backend that is Postern itself",
      "backends: { alpha: { host: localhost, protocols: { imap: ▸1143 } } }",
      "backends.alpha.protocols.imap",
      /own listener imap-1143/,
    ],
    [
      "nobody signs in at a mailbox",
      backend("login: ▸none"),
      "backends.alpha.login",
      /nobody reads mail by imap without signing in/,
    ],
    [
      "XCLIENT for IMAP",
      backend("identity: ▸xclient"),
      "backends.alpha.identity",
      /nothing that imap has \(found xclient; valid: auto, .* id, also as imap/,
    ],
    [
      "ID for POP3",
      "backends: { alpha: { host: a, protocols: { pop3: { port: 110, identity: ▸id } } } }",
      "backends.alpha.protocols.pop3.identity",
      /nothing that pop3 has/,
    ],
    [
      "mutual TLS without its certificate",
      backend("trust: ▸{ key: users.yaml }"),
      "backends.alpha.trust.cert",
      /go together/,
    ],
    [
      "mutual TLS without its key",
      backend("trust: ▸{ cert: users.yaml }"),
      "backends.alpha.trust.key",
      /go together/,
    ],
    [
      "sessions in a time",
      limit("count: sessions, per: user, limit: ▸30/1m"),
      "policy.limits[0].limit",
      /cannot have a period/,
    ],
    [
      "failures at once",
      limit("count: authFailures, per: ip, limit: ▸30"),
      "policy.limits[0].limit",
      /needs a period/,
    ],
    [
      "connections by user",
      limit("count: connections, per: ▸user, limit: 30"),
      "policy.limits[0].per",
      /not known yet/,
    ],
    [
      "connections by address and domain",
      limit("count: connections, per: ▸[ip, domain], limit: 30"),
      "policy.limits[0].per",
      /found domain; valid: ip, listener/,
    ],
    [
      "connections by backend",
      limit("count: connections, per: ▸backend, limit: 30"),
      "policy.limits[0].per",
      /not known yet when a client connects/,
    ],
    [
      "guesses by backend",
      limit("count: authFailures, per: ▸[ip, backend], limit: 30/1h"),
      "policy.limits[0].per",
      /not known yet when a password is tried \(found backend; valid: ip, user, domain/,
    ],
    [
      "connections of a user",
      limit("count: connections, per: ip, limit: 30, match: { user: ▸alice }"),
      "policy.limits[0].match.user",
      /not known yet when a client connects/,
    ],
    [
      "a limit for no network",
      limit("count: connections, per: ip, limit: 30, match: { network: ▸10.0.0.0/33 }"),
      "policy.limits[0].match.network",
      /10\.0\.0\.0\/33.*an IP address or a network/,
    ],
    [
      "logins at once",
      limit("count: logins, per: user, limit: ▸30"),
      "policy.limits[0].limit",
      /needs a period/,
    ],
    [
      "bytes as a number",
      limit("count: bytesIn, per: user, limit: ▸30/1h"),
      "policy.limits[0].limit",
      /a size/,
    ],
    [
      "bytes at once",
      limit("count: bytesIn, per: user, limit: ▸1GiB"),
      "policy.limits[0].limit",
      /needs a period.*SIZE\/DURATION/,
    ],
    [
      "messages as a size",
      limit("count: messages, per: user, limit: ▸1GiB/1h"),
      "policy.limits[0].limit",
      /messages are no bytes/,
    ],
    [
      "messages of readers",
      limit("count: messages, per: ip, limit: 5/1h, match: { protocol: ▸[imap, smtp] }"),
      "policy.limits[0].match.protocol",
      /nothing that this limit could count \(found imap; valid: submission, smtp\)/,
    ],
    [
      "guesses where nobody signs in",
      limit("count: authFailures, per: ip, limit: 5/1h, match: { protocol: ▸smtp }"),
      "policy.limits[0].match.protocol",
      /found smtp/,
    ],
    [
      "users where there are none",
      limit("count: recipients, per: user, limit: 5/1h, match: { protocol: ▸smtp }"),
      "policy.limits[0].match.protocol",
      /found smtp; valid: submission\)/,
    ],
    [
      "sessions slowed down",
      limit("count: sessions, per: user, limit: 5, then: ▸{ throttle: 1KiB }"),
      "policy.limits[0].then",
      /nothing but bytes/,
    ],
    [
      "bytes delayed",
      limit("count: bytesOut, per: user, limit: 1GiB/1d, then: ▸{ delay: 1s }"),
      "policy.limits[0].then",
      /cannot delay bytes/,
    ],
    [
      "no speed",
      limit("count: bytesOut, per: user, limit: 1GiB/1d, then: { throttle: ▸0B }"),
      "policy.limits[0].then.throttle",
      /no speed/,
    ],
    [
      "a ban that shrinks",
      limit("count: connections, per: ip, limit: 1/1m, then: { ban: 1h, upTo: ▸5m }"),
      "policy.limits[0].then.upTo",
      /shorter than the first/,
    ],
    [
      "a limit at no listener",
      limit("count: sessions, per: ip, limit: 1, match: { listener: ▸imaps }"),
      "policy.limits[0].match.listener",
      /found imaps; valid: imap-1143/,
    ],
    [
      "two limits of one name",
      "policy:\n  limits:\n    - { name: x, count: sessions, per: ip, limit: 1 }\n    - { name: ▸x, count: sessions, per: user, limit: 1 }",
      "policy.limits[1].name",
      /earlier limit/,
    ],
    [
      "no file of users",
      "authentication: { sources: [{ type: file, path: ▸nowhere.yaml }] }",
      "authentication.sources[0].path",
      /there is no such file/,
    ],
    [
      "a folder of users",
      "authentication: { sources: [{ type: file, path: ▸. }] }",
      "authentication.sources[0].path",
      /it is a folder/,
    ],
  ],
};

/** The good file with one section in its own place, or at the end; and where ▸ stood in it. */
function place(section: string): { text: string; line: number; column: number } {
  const name = section.replace("▸", "").split(":")[0] ?? "";
  const isKnown = name in GOOD;
  const marked = fileWith({ [isKnown ? name : "last"]: section });
  const before = marked.slice(0, marked.indexOf("▸")).split("\n");
  return { text: marked.replace("▸", ""), line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

for (const [group, rows] of Object.entries(ROWS))
  describe(`a bad file is reported where it is wrong: ${group}`, () => {
    for (const [name, section, key, message] of rows)
      test(name, () => {
        const { text, line, column } = place(section);
        const lines = linesOf(parseConfig(text, path, {}), "problems");
        const expected = `${path}:${line}:${column}: ${key}: `;
        const own = lines.filter((one) => one.startsWith(expected));
        assert.equal(own.length, 1, `${expected}\n${lines.join("\n")}`);
        assert.match(own[0] ?? "", message);
        assert.equal(lines.length, 1, lines.join("\n"));
      });
  });

test("what is wrong in one part of the policy hides nothing that is wrong in another", () => {
  const parts = [
    "geo: { country: no.mmdb }",
    "limits: [{ name: x, count: logins, per: backend, limit: 5 }]",
    "hooks: [{ type: authPolicy, name: wf, url: http://wf.internal/, nonce: n }]",
    "events: { webhook: { url: hello, secret: short }, file: a, nftables: a }",
    "serve: { host: 192.0.2.1, port: 10040 }",
  ];
  const lines = linesOf(
    parseConfig(fileWith({ policy: `policy: { ${parts.join(", ")} }` }), path, {}),
    "problems",
  );
  const keys = new Set(lines.map((line) => /: (policy\.[^:]*): /.exec(line)?.[1]));
  assert.deepEqual(
    [...keys].toSorted(),
    [
      "policy.events.nftables",
      "policy.events.webhook.secret",
      "policy.events.webhook.url",
      "policy.geo.country",
      "policy.hooks[0].url",
      "policy.limits[0].limit",
      "policy.serve.host",
    ],
    lines.join("\n"),
  );
});

describe("what is no YAML mapping is reported, too", () => {
  const cases: [name: string, text: string, line: string][] = [
    ["an empty file", "", "1:1: is empty"],
    ["only comments", "# nothing\n", "1:1: is empty"],
    ["plain text", "hello", "1:1: is not valid here (found text; "],
    ["a list", "- a\n", "1:1: is not valid here (found a list; "],
    ["a tab", "tls:\n\tselfSigned: true", "2:1: is indented with a tab"],
    [
      "an open bracket",
      "tls: { selfSigned: true",
      "1:24: is indented differently from what it belongs to, or a closing } or ] is missing before it",
    ],
    ["two documents", "tls: {}\n---\ntls: {}", "2:1: has a second document"],
    ["an unknown anchor", "tls: *here", "1:6: tls: is an alias of an anchor"],
    ["an anchor inside itself", "tls: &a { selfSigned: *a }", "1:23: tls.selfSigned: is an alias"],
    ["an unknown tag", "tls: !x {}", "1:6: has a tag"],
    ["too deep", `tls: ${"[".repeat(60)}${"]".repeat(60)}`, "1:56: tls"],
  ];
  for (const [name, text, expected] of cases)
    test(name, () => {
      const [first = ""] = linesOf(parseConfig(text, "p.yaml", {}), "problems");
      assert.ok(first.startsWith(`p.yaml:${expected}`), first);
    });
});

test("all mistakes are reported at once, in the order of the file", () => {
  const text = `tls: { selfSigned: maybe }
listeners:
  - { protocol: imap, port: "10" }
  - { protocol: imap, port: 143 }
  - { protocol: imap, port: 143, hots: a }
authentication: { sources: [{ type: file, path: nowhere }] }
backends: { alpha: { protocols: { imap: 143 } } }
routes: [{ to: beta }]
admin: { host: "::" }`;
  const lines = linesOf(parseConfig(text, path, {}), "problems").map((line) =>
    line
      .slice(path.length + 1)
      .split(": ", 2)
      .join(" "),
  );
  assert.deepEqual(lines, [
    "1:20 tls.selfSigned",
    "3:29 listeners[0].port",
    "5:29 listeners[2].port",
    "5:34 listeners[2].hots",
    "6:49 authentication.sources[0].path",
    "7:20 backends.alpha.host",
    "8:16 routes[0].to",
    "9:16 admin.host",
  ]);
});

test("a problem is one printable line, whatever the file holds", () => {
  const nasty = 'logging: { level: "a\\nb\\e[31m\\u202E\\u2028c" }\n"x\\ny": 1';
  for (const line of linesOf(parseConfig(fileWith({ nasty }), "p\n.yaml", {}), "problems")) {
    assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    assert.ok(line.length < 400);
  }
});
