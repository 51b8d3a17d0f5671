import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  decoyPassword,
  findScheme,
  parseStored,
  SCHEMES,
} from "../../../src/auth/password/stored-password.ts";

const UTF8 = "pässwörd ☃";
const HELLO = "Hello world!";
const X32 = "x".repeat(32);
const X64 = "x".repeat(64);

/** Written by Dovecot 2.3.19's `doveadm pw`, libxcrypt's crypt(3), OpenSSL's `passwd` and Python's hashlib. */
const VECTORS: readonly [by: string, password: string, stored: string][] = [
  [
    "doveadm",
    UTF8,
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$LgJwmpLNMFkGfTzUSlC7OQ$l45a2IP/KBeIVxVl+L4Zp66ZS6HobXqfaAsFH5R/Qlw",
  ],
  ["doveadm", UTF8, "{BLF-CRYPT}$2y$05$8Mjf4NNexA.LRZHNpqwJyuGTTW/qANuyJXtlogkJn0Sjy6IPTjJD2"],
  ["doveadm", UTF8, "{CRYPT}$2y$05$rcPgmqO2u10t/3NDt0F0dOTrkWehI7/lZLOUUQeyAmAMfjOxPsfcK"],
  [
    "doveadm",
    UTF8,
    "{SHA512-CRYPT}$6$SuVpbz4RfEY6YXYv$C5AWesOIooBSAaXxsRxuh6awbLo6QTCZ.mPjIykMhJ6hpKVwKPPIWvLNKzO9LTVEFV.AW1mknvUpNaMvpEBEz1",
  ],
  [
    "doveadm",
    "x",
    "{SHA512-CRYPT}$6$rounds=12345$oWFH6baLojt5YIXK$4WnQZ4ZSg5614MYRNRsw1n4jTTn7F/qAOFUJQygSkuVvw8hC6wb0BRKl1xgGomQ4gKCi.rKo4cDkA.Yb5zaOm1",
  ],
  ["doveadm", UTF8, "{SHA256-CRYPT}$5$wOElKWi5x4v6dO2C$du1HUyXGGRK82bX3u2SoC7qJEyvdYfU9Y6Wo37Gc7k3"],
  ["doveadm", UTF8, "{PBKDF2}$1$8WFeZg5AYr55Mwnd$5000$5410bfdc3dd4b96cf710c5762321d2dfb5586085"],
  ["doveadm", UTF8, `{PLAIN}${UTF8}`],
  ["doveadm", UTF8, `{cleartext}${UTF8}`],
  [
    "crypt(3)",
    HELLO,
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
  ],
  ["crypt(3)", HELLO, "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"],
  [
    "crypt(3), no salt",
    HELLO,
    "$6$rounds=1000$$.iDmP65p8twH4xRklgLM6b3KeMLRiE5OWGUiqIhHf/NGBlIiq.8G4dF5pUKl4NZyp6LUp47BEfZtAmJZfmV07/",
  ],
  ["crypt(3)", HELLO, "$2a$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW"],
  ["crypt(3)", HELLO, "$2b$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW"],
  [
    "crypt(3), beyond 72 bytes",
    "y".repeat(80),
    "$2b$04$abcdefghijklmnopqrstuuwurWIdVVT4m5pTArtqnFNM69nySdHj.",
  ],
  // As long as the digest: the length at which the unixcrypt package goes wrong.
  ["openssl", X32, "$5$saltsalt$nVO9zoM.Bfq522j476PYcqDc2vxmMSeMl7RsOoxrn37"],
  ["openssl", X64, "$5$saltsalt$m/PwYwSKhXHnnF5ieqKGuRN3frnWUjLC/lbcEqQxvB0"],
  [
    "openssl",
    X64,
    "$6$saltsalt$55HgDHfXPAT2alm9wGBYfZ4wSwbvPfp5Ckl0DdpNANMj2lPpWfhUgp5km1bq8meJGCDkDGSHYEZyDYoThYWH0/",
  ],
  [
    "hashlib",
    UTF8,
    "{SCRYPT}$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$EFmwNieTs3brF3zrsOZc1a+rdsWRatS0Gbh2MSuCwck",
  ],
];

describe("stored passwords of other programs", () => {
  for (const [by, password, stored] of VECTORS) {
    test(`${stored.slice(0, 28)}… of ${by}`, () => {
      const parsed = understood(stored);
      assert.equal(parsed.matches(password), true);
      assert.equal(parsed.matches(`${password.slice(0, -1)}?`.slice(0, 70)), false);
      assert.equal(parsed.matches(""), false);
    });
  }

  test("a scheme's name in any case", () => {
    assert.equal(
      understood(
        "{sha512-Crypt}$6$rounds=1000$$.iDmP65p8twH4xRklgLM6b3KeMLRiE5OWGUiqIhHf/NGBlIiq.8G4dF5pUKl4NZyp6LUp47BEfZtAmJZfmV07/",
      ).scheme,
      "SHA512-CRYPT",
    );
    assert.equal(findScheme("blf-crypt")?.name, "BLF-CRYPT");
  });

  for (const id of ["5", "6"]) {
    test(`$${id}$ agrees with OpenSSL at every length to 140`, (t) => {
      const passwords = Array.from({ length: 140 }, (_, length) => "ab☃".repeat(47).slice(0, length + 1));
      const openssl = spawnSync("openssl", ["passwd", `-${id}`, "-salt", "s/.9", "-stdin"], {
        input: passwords.join("\n"),
      });
      if (openssl.error) return t.skip("no openssl");
      const stored = openssl.stdout.toString().trim().split("\n");
      assert.equal(stored.length, passwords.length);
      const wrong = passwords.filter((password, index) => !understood(stored[index] ?? "").matches(password));
      assert.deepEqual(wrong, []);
    });
  }
});

const LEAST_WORK: Readonly<Record<string, number>> = {
  ARGON2ID: 1,
  SCRYPT: 10,
  "BLF-CRYPT": 4,
  PBKDF2: 5000,
};
const password = fc
  .string({ unit: "binary", minLength: 1, maxLength: 40 })
  .filter((text) => Buffer.byteLength(text) <= 72);

describe("what we make", () => {
  for (const scheme of SCHEMES) {
    const work = scheme.work && (LEAST_WORK[scheme.name] ?? scheme.work.min);

    test(`{${scheme.name}} matches its password and no other`, () => {
      fc.assert(
        fc.property(password, password, (right, wrong) => {
          fc.pre(right !== wrong);
          const parsed = understood(`{${scheme.name}}${scheme.make(right, work)}`);
          assert.equal(parsed.scheme, scheme.name);
          assert.equal(parsed.matches(right), true);
          assert.equal(parsed.matches(wrong), false);
        }),
        { numRuns: 8 },
      );
    });

    if (!scheme.work) continue;
    const { min, max } = scheme.work;
    test(`{${scheme.name}} says no to more or less work than it takes`, () => {
      for (const wrong of [min - 1, max + 1, 1.5, Number.NaN])
        assert.throws(() => scheme.make("x", wrong), RangeError);
    });
  }

  // Dovecot has no scrypt.
  for (const scheme of SCHEMES.filter(({ name }) => name !== "SCRYPT")) {
    const work = scheme.work && (LEAST_WORK[scheme.name] ?? scheme.work.min);
    test(`doveadm accepts our {${scheme.name}}`, (t) => {
      const stored = `{${scheme.name}}${scheme.make(UTF8, work)}`;
      const doveadm = spawnSync("doveadm", ["pw", "-t", stored, "-p", UTF8]);
      if (doveadm.error) return t.skip("no doveadm");
      assert.match(doveadm.stdout.toString(), /\(verified\)/);
    });
  }

  test("BLF-CRYPT refuses a password that it would cut", () => {
    assert.throws(() => findScheme("BLF-CRYPT")?.make("x".repeat(73), 4), RangeError);
  });

  test("two hashes of one password differ", () => {
    const scheme = findScheme("ARGON2ID");
    assert.notEqual(scheme?.make("x", 1), scheme?.make("x", 1));
  });
});

const SALT = "AAAAAAAAAAAAAAAAAAAAAA";
const DIGEST = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const DIGEST86 = "a".repeat(86);

/** What is wrong, and a word that the complaint has to hold. */
const BAD: readonly [why: string, stored: string, says: RegExp][] = [
  ["nothing", "", /no \{SCHEME\}/],
  ["no scheme", "hunter2", /no \{SCHEME\}/],
  ["an unknown scheme", "{SSHA}abc", /unknown scheme \{SSHA\}.*\{ARGON2ID\}/],
  ["an encoding suffix", "{PLAIN.B64}eA==", /unknown scheme/],
  ["CRYPT of DES", "{CRYPT}rqXexS6ZhobKA", /\{CRYPT\}/],
  ["an empty PLAIN", "{PLAIN}", /empty/],
  ["64 GiB of memory", `$argon2id$v=19$m=67108864,t=1,p=1$${SALT}$${DIGEST}`, /m \(memory/],
  ["an hour of passes", `$argon2id$v=19$m=65536,t=100000,p=1$${SALT}$${DIGEST}`, /m times t/],
  ["less memory than lanes need", `$argon2id$v=19$m=8,t=1,p=2$${SALT}$${DIGEST}`, /memory/],
  ["too many lanes", `$argon2id$v=19$m=65536,t=1,p=65$${SALT}$${DIGEST}`, /lanes/],
  ["Argon2 1.0", `$argon2id$v=16$m=65536,t=1,p=1$${SALT}$${DIGEST}`, /version 16/],
  ["argon2i", `{ARGON2ID}$argon2i$v=19$m=65536,t=1,p=1$${SALT}$${DIGEST}`, /form/],
  ["a padded salt", `$argon2id$v=19$m=65536,t=1,p=1$${SALT}==$${DIGEST}`, /form/],
  ["a short salt", `$argon2id$v=19$m=65536,t=1,p=1$AAAA$${DIGEST}`, /salt/],
  ["a short hash", `$argon2id$v=19$m=65536,t=1,p=1$${SALT}$AAAA`, /hash/],
  ["hidden bits in base64", `$argon2id$v=19$m=65536,t=1,p=1$${SALT.slice(0, -1)}B$${DIGEST}`, /base64/],
  ["leading zeros", `$argon2id$v=19$m=065536,t=1,p=1$${SALT}$${DIGEST}`, /form/],
  ["scrypt with 2^31", `$scrypt$ln=31,r=8,p=1$${SALT}$${DIGEST}`, /ln/],
  ["scrypt with 2 GiB", `$scrypt$ln=20,r=16,p=1$${SALT}$${DIGEST}`, /N times/],
  ["scrypt that RFC 7914 forbids", `$scrypt$ln=16,r=1,p=1$${SALT}$${DIGEST}`, /16 times r/],
  ["bcrypt cost 31", `$2y$31$${"a".repeat(53)}`, /cost/],
  ["bcrypt cost 3", `$2y$03$${"a".repeat(53)}`, /cost/],
  ["crypt_blowfish's 2x", `$2x$05$${"a".repeat(53)}`, /no \{SCHEME\}/],
  ["short bcrypt", `{BLF-CRYPT}$2y$05$${"a".repeat(52)}`, /form/],
  ["2^31 rounds of SHA512", `$6$rounds=2147483648$salt$${DIGEST86}`, /rounds/],
  ["999 rounds of SHA512", `$6$rounds=999$salt$${DIGEST86}`, /rounds/],
  ["a salt of 17", `$6$${"a".repeat(17)}$${DIGEST86}`, /form/],
  ["SHA256 of SHA512's length", `$5$salt$${DIGEST86}`, /form/],
  ["2^31 rounds of PBKDF2", `{PBKDF2}$1$salt$2147483648$${"0".repeat(40)}`, /rounds/],
  ["no rounds of PBKDF2", `{PBKDF2}$1$salt$0$${"0".repeat(40)}`, /form/],
  ["something behind the hash", `{SHA512-CRYPT}$6$salt$${DIGEST86}\n`, /form/],
  ["a megabyte", `{PLAIN}${"x".repeat(1_000_000)}`, /longer/],
];

describe("bad stored passwords are told when they are read", () => {
  for (const [why, stored, says] of BAD) {
    test(why, () => {
      const parsed = parseStored(stored);
      assert.ok("problem" in parsed, "was accepted");
      assert.match(parsed.problem, says);
      assert.ok(!parsed.problem.includes("hunter2"));
    });
  }

  test("no text makes it throw", () => {
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc
        .tuple(fc.constantFrom(...SCHEMES.map(({ name }) => name)), fc.string())
        .map(([name, rest]) => `{${name}}${rest}`),
    );
    fc.assert(fc.property(texts, (text) => void parseStored(text)));
  });

  test("no text near a good one throws when read, nor when checked", () => {
    const cheap = SCHEMES.map(
      (scheme) =>
        `{${scheme.name}}${scheme.make("x", scheme.work && (LEAST_WORK[scheme.name] ?? scheme.work.min))}`,
    );
    const mutant = fc.tuple(fc.constantFrom(...cheap), fc.nat(), fc.nat(3), fc.string({ maxLength: 3 }));
    fc.assert(
      fc.property(mutant, ([text, place, cut, inserted]) => {
        const at = place % text.length;
        const parsed = parseStored(text.slice(0, at) + inserted + text.slice(at + cut));
        // Only what still costs the same is computed: a digit more may be seconds more.
        if ("matches" in parsed && parsed.cost === understood(text).cost) parsed.matches("y");
      }),
      { numRuns: 300 },
    );
  });
});

test("nobody's password is well-formed and matches nothing", () => {
  const decoy = decoyPassword();
  assert.equal(decoy.scheme, "ARGON2ID");
  assert.equal(understood(decoy.stored).matches("x"), false);
});

function understood(stored: string) {
  const parsed = parseStored(stored);
  if ("problem" in parsed) assert.fail(parsed.problem);
  return parsed;
}
