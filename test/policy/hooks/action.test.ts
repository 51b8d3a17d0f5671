import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readAction } from "../../../src/policy/hooks/action.ts";

const refuse = (code: number, enhanced: string, text: string) => ({
  kind: "refuse",
  told: { code, enhanced, text },
});

const ACTIONS: Readonly<Record<string, unknown>> = {
  DUNNO: { kind: "go on" },
  "dunno and more": { kind: "go on" },
  OK: { kind: "go on" },
  permit: { kind: "go on" },
  "250": { kind: "go on" },
  "DEFER_IF_REJECT later": { kind: "go on" },
  REJECT: refuse(554, "5.7.1", "Access denied"),
  "reject  Not you": refuse(554, "5.7.1", "Not you"),
  "REJECT 5.7.23 SPF fails": refuse(554, "5.7.23", "SPF fails"),
  "REJECT 4.7.0 no": refuse(554, "5.7.1", "no"),
  "DEFER_IF_PERMIT Greylisted, see http://x/": refuse(450, "4.7.1", "Greylisted, see http://x/"),
  "DEFER 4.2.2 full": refuse(450, "4.2.2", "full"),
  "450 4.7.1 Slow down": refuse(450, "4.7.1", "Slow down"),
  "550": refuse(550, "5.7.1", "Access denied"),
  "550 5.1.1": refuse(550, "5.1.1", "Access denied"),
  "421 4.7.0 Goodbye": refuse(450, "4.7.0", "Goodbye"),
  "521 Goodbye": refuse(554, "5.7.1", "Goodbye"),
  "REJECT caf\u00e9 \u202e": refuse(554, "5.7.1", "caf? ?"),
  "WARN who is this": { kind: "note", text: "who is this" },
  "INFO fine": { kind: "note", text: "fine" },
  "PREPEND X-Spam: yes": { kind: "notDone", action: "PREPEND" },
  HOLD: { kind: "notDone", action: "HOLD" },
  "discard quietly": { kind: "notDone", action: "DISCARD" },
  reject_unauth_destination: undefined,
  __proto__: undefined,
  constructor: undefined,
  "": undefined,
  "   ": undefined,
};

for (const [said, meant] of Object.entries(ACTIONS))
  test(`action=${said}`, () => assert.deepEqual(readAction(said), meant));

test("whatever a policy server sends, a client hears one short line of ASCII in its code's class", () => {
  const beginning = fc.constantFrom("REJECT ", "DEFER ", "450 ", "550 5.1.1 ", "4", "5");
  fc.assert(
    fc.property(beginning, fc.string({ unit: "binary", maxLength: 2_000 }), (word, text) => {
      const action = readAction(word + text);
      if (action?.kind !== "refuse") return;
      const { code, enhanced, text: heard } = action.told;
      assert.match(`${code} ${enhanced} ${heard}`, /^([45])\d\d \1\.\d{1,3}\.\d{1,3} [!-~][ -~]{0,255}$/);
    }),
  );
});
