import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { createAuthenticator } from "../../src/auth/authenticator.ts";
import type { Source } from "../../src/auth/source.ts";
import { Refused } from "../../src/refusal.ts";
import type { Credential } from "../../src/sasl/credential.ts";

const PEER = { address: "192.0.2.1", protocol: "imap" };

/** A source that knows some users, all with the password "right", and writes down what it is asked. */
function scripted(name: string, users: readonly string[], log: string[]): Source {
  return {
    name,
    size: users.length,
    async authenticate({ authcid, password }) {
      if (!users.includes(authcid)) return { known: false };
      log.push(`${name} hash`);
      if (password !== "right") throw new Refused("badCredential", "wrong password");
      return { known: true, identity: { user: authcid, backend: name } };
    },
    async pretend() {
      log.push(`${name} hash`);
    },
  };
}

function asked(authcid: string, password: string, authzid?: string): Credential {
  return { mechanism: "PLAIN", authcid, password, ...(authzid !== undefined && { authzid }) };
}

function chain(...users: (readonly string[])[]) {
  const log: string[] = [];
  const sources = users.map((some, index) => scripted(`s${index}`, some, log));
  const options = { sources, forbiddenInNames: ["*", ""], secret: Buffer.alloc(32, 7) };
  return { log, authenticator: createAuthenticator(options) };
}

async function refusalOf(answer: Promise<unknown>): Promise<Refused["refusal"]> {
  try {
    await answer;
  } catch (error) {
    assert.ok(error instanceof Refused, String(error));
    return error.refusal;
  }
  return assert.fail("was let in");
}

describe("the chain", () => {
  test("asks its sources in order until one knows the user", async () => {
    const { authenticator } = chain(["a"], ["a", "b"]);
    assert.equal((await authenticator.authenticate(asked("a", "right"), PEER)).backend, "s0");
    assert.equal((await authenticator.authenticate(asked("b", "right"), PEER)).backend, "s1");
  });

  test("does not ask the next source after a wrong password", async () => {
    const { authenticator, log } = chain(["a"], ["a"]);
    const { kind, detail } = await refusalOf(authenticator.authenticate(asked("a", "wrong"), PEER));
    assert.deepEqual([kind, detail], ["badCredential", "wrong password"]);
    assert.deepEqual(log, ["s0 hash"]);
  });

  test("does not take an outage for an unknown user", async () => {
    const down: Source = {
      name: "down",
      authenticate: () => Promise.reject(new Refused("unavailable", "no answer")),
    };
    const authenticator = createAuthenticator({ sources: [down, scripted("s", ["a"], [])] });
    assert.equal(
      (await refusalOf(authenticator.authenticate(asked("a", "right"), PEER))).kind,
      "unavailable",
    );
  });

  test("without sources knows nobody", async () => {
    const authenticator = createAuthenticator({ sources: [] });
    assert.equal(
      (await refusalOf(authenticator.authenticate(asked("a", "right"), PEER))).kind,
      "badCredential",
    );
  });
});

describe("every failed login costs one hash", () => {
  for (const [what, credential] of [
    ["a wrong password at the first source", asked("a", "wrong")],
    ["a wrong password at the second", asked("b", "wrong")],
    ["an unknown user", asked("nobody", "wrong")],
    ["an authzid of somebody else, wrong password", asked("a", "wrong", "b")],
    ["an authzid of somebody else, right password", asked("a", "right", "b")],
    ["an unknown user with an authzid", asked("nobody", "wrong", "a")],
  ] as const) {
    test(what, async () => {
      const { authenticator, log } = chain(["a"], ["b"], []);
      assert.equal((await refusalOf(authenticator.authenticate(credential, PEER))).kind, "badCredential");
      assert.equal(log.length, 1, log.join());
    });
  }

  test("of a source as likely as it has users", async () => {
    const many = Array.from({ length: 9 }, (_, n) => `u${n}`);
    const { authenticator, log } = chain(["a"], many);
    for (let n = 0; n < 1000; n += 1)
      await refusalOf(authenticator.authenticate(asked(`nobody${n}`, "x"), PEER));
    const share = log.filter((line) => line === "s1 hash").length / 1000;
    assert.ok(Math.abs(share - 0.9) < 0.04, `${share}`);
  });
});

describe("an authzid", () => {
  test("that is the user's own name is as good as none", async () => {
    const { authenticator } = chain(["a", "\u00e9"]);
    for (const authzid of ["", "a", "A"]) {
      assert.equal((await authenticator.authenticate(asked("a", "right", authzid), PEER)).user, "a");
    }
    await authenticator.authenticate(asked("\u00e9", "right", "E\u0301"), PEER);
  });

  test("of somebody else never reaches a source", async () => {
    const source: Source = { name: "s", authenticate: () => assert.fail("was asked") };
    const authenticator = createAuthenticator({ sources: [source] });
    await refusalOf(authenticator.authenticate(asked("a", "right", "b"), PEER));
  });
});

describe("names and passwords that are nobody's", () => {
  const source: Source = { name: "s", authenticate: () => assert.fail("was asked") };
  const authenticator = createAuthenticator({ sources: [source], forbiddenInNames: ["*", "%%"] });
  for (const [what, credential] of [
    ["an empty name", asked("", "x")],
    ["CR LF in a name", asked("bob\r\nAuth-Status: OK", "x")],
    ["NUL in a name", asked("a\0b", "x")],
    ["a name of 300 bytes", asked("a".repeat(300), "x")],
    ["a master separator", asked("boss*bob", "x")],
    ["another master separator", asked("boss%%bob", "x")],
    ["a master separator in the authzid", asked("bob", "x", "bob*boss")],
    ["a line end in the authzid", asked("bob", "x", "bob\n")],
    ["an empty password", asked("bob", "")],
    ["CR LF in a password", asked("bob", "x\r\ny")],
    ["NUL in a password", asked("bob", "x\0y")],
  ] as const) {
    test(what, async () => {
      const { kind } = await refusalOf(authenticator.authenticate(credential, PEER));
      assert.equal(kind, "badCredential");
    });
  }

  test("say nothing of themselves in the detail", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary", minLength: 8 }),
        fc.string({ unit: "binary", minLength: 8 }),
        async (name, password) => {
          const nobody = createAuthenticator({ sources: [], forbiddenInNames: ["*"] });
          const { kind, detail } = await refusalOf(nobody.authenticate(asked(name, password), PEER));
          assert.equal(kind, "badCredential");
          assert.match(detail, /^[a-z0-9 ]+$/);
        },
      ),
    );
  });
});

test("a client that left ends the asking with its own reason", async () => {
  const left = AbortSignal.abort(new Error("left"));
  const source: Source = {
    name: "s",
    authenticate: async (_credential, _peer, signal) => {
      signal?.throwIfAborted();
      return { known: false };
    },
  };
  const authenticator = createAuthenticator({ sources: [source] });
  await assert.rejects(authenticator.authenticate(asked("a", "x"), PEER, left), { message: "left" });
});
