import assert from "node:assert/strict";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { Guard } from "../../../src/policy/hooks/guard.ts";
import { ALLOW, type Answer, type Hook, type TryEnd } from "../../../src/policy/hooks/hook.ts";
import { withHooks } from "../../../src/policy/hooks/hooked-policy.ts";
import { Refused } from "../../../src/refusal.ts";
import { certificateAuthority } from "../../support/certificates.ts";
import { engine, facts, said } from "../engine-kit.ts";
import { authPolicy, CALLER, hooked, tries, Witness } from "./hooks-kit.ts";

const NO: Answer = { kind: "refuse", refused: new Refused("badCredential", "hook: no") };

/** Answers as it is told, and writes down what it was asked. */
class Scripted implements Hook {
  readonly heard: string[] = [];
  before: Answer | "fail" = ALLOW;
  after: Answer | "fail" = ALLOW;

  attempt() {
    const answer = async (point: "before" | "after"): Promise<Answer> => {
      this.heard.push(point);
      const said = this[point];
      if (said === "fail") throw new Error("out of order");
      return said;
    };
    return {
      before: () => answer("before"),
      after: () => answer("after"),
      report: (end: TryEnd) => void this.heard.push(end),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const LIMITS = [
  {
    name: "guesses",
    count: "authFailures" as const,
    per: ["user" as const],
    limit: { points: 2, windowMs: 60_000 },
  },
];

function scripted(t: TestContext, onFailure: "allow" | "refuse" = "allow") {
  const hook = new Scripted();
  return { hook, ...hooked(t, () => hook, { onFailure }, LIMITS) };
}

test("without hooks the policy is the engine itself", () => {
  const { policy } = engine([]);
  assert.equal(withHooks(policy, []), policy);
});

test("a hook hears of each end, and of an outage none", async (t) => {
  const { policy, hook } = scripted(t, "refuse");
  assert.equal(await tries(policy), "yes");
  assert.equal(await tries(policy, false), "badCredential");
  assert.deepEqual(hook.heard, ["before", "after", "right", "before", "wrong"]);
  hook.heard.length = 0;
  const attempt = await policy.attempt(facts(), undefined, "fp", () => ({ caller: CALLER, password: "x" }));
  const outage = attempt.settle(Promise.reject(new Refused("unavailable", "the backend is away")));
  assert.equal(await said(outage), "unavailable");
  assert.deepEqual(hook.heard, ["before"]);
  hook.heard.length = 0;
  hook.before = "fail";
  assert.equal(await tries(policy), "unavailable", "its own outage as little");
  assert.deepEqual(hook.heard, ["before"]);
});

test("refused behind a right password, it counts as a wrong one: no limit tells a guesser that it was right", async (t) => {
  const { policy, hook } = scripted(t);
  hook.after = NO;
  const answersTo = async (user: string, isRight: boolean): Promise<string[]> => {
    const answers: string[] = [];
    // One and the same twice, then others, until the limit is full.
    answers.push(await tries(policy, isRight, user, "first"), await tries(policy, isRight, user, "first"));
    for (const fingerprint of ["second", "third"])
      answers.push(await tries(policy, false, user, fingerprint));
    return answers;
  };
  const answers = await answersTo("alice", true);
  assert.deepEqual(answers, ["badCredential", "badCredential", "badCredential", "tooFast"]);
  assert.deepEqual(await answersTo("bob", false), answers);
});

test("refused behind a right password, the network is not one where the user is at home, and he is banned by no repeat", async (t) => {
  const { policy, hook } = scripted(t);
  hook.after = NO;
  for (let times = 0; times < 5; times += 1) assert.equal(await tries(policy), "badCredential");
  const refused = await policy.explain(facts({ user: "alice" }));
  assert.equal(refused.limits[0]?.taken, 1);
  assert.equal(refused.knownNetwork, false);
  assert.deepEqual(hook.heard.slice(-3), ["before", "after", "refusedByHook"]);
  hook.after = ALLOW;
  assert.equal(await tries(policy), "yes");
  assert.equal((await policy.explain(facts({ user: "alice" }))).knownNetwork, true);
});

test("a hook's outage behind a right password is no guess", async (t) => {
  const { policy, hook } = scripted(t, "refuse");
  hook.after = "fail";
  assert.equal(await tries(policy), "unavailable");
  assert.equal((await policy.explain(facts({ user: "alice" }))).limits[0]?.taken, 0);
  assert.deepEqual(hook.heard, ["before", "after"]);
});

test("hooks are asked in their order, and the first no is the last question", async () => {
  const witness = new Witness();
  const [first, second] = [new Scripted(), new Scripted()];
  const guards = [first, second].map(
    (hook, at) =>
      new Guard({ name: `h${at}`, hook, onFailure: "allow", observed: false, concerns: () => true }, witness),
  );
  const policy = withHooks(engine([]).policy, guards);
  assert.equal(await tries(policy), "yes");
  first.before = NO;
  assert.equal(await tries(policy), "badCredential");
  assert.deepEqual(second.heard, ["before", "after", "right", "refusedByHook"]);
  assert.deepEqual(
    [...witness.answers],
    [
      ["allowed", 4],
      ["refused", 1],
    ],
  );
});

test("by https, with an authority of one's own, and by nothing less", async (t) => {
  const authority = await certificateAuthority();
  const own = await authority.issue(["localhost"]);
  const keys: unknown[] = [];
  const server = createServer({ cert: own.cert, key: own.key }, (request, response) => {
    keys.push(request.headers.authorization);
    response.end('{"status": -1}');
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  const url = `https://localhost:${(server.address() as AddressInfo).port}/`;
  const headers = { authorization: "Basic d2ZvcmNlOng=" };
  const trusted = hooked(t, authPolicy(url, { ca: authority.ca, headers, timeoutMs: 2_000 }));
  assert.equal(await tries(trusted.policy), "badCredential");
  assert.deepEqual(keys, [headers.authorization]);
  const other = hooked(t, authPolicy(url, { headers, timeoutMs: 2_000 }));
  assert.equal(await tries(other.policy), "yes", "fail-open, and nobody untrusted has decided");
  assert.equal(keys.length, 1);
  assert.equal([...other.witness.answers.keys()].join(), "broken");
});
