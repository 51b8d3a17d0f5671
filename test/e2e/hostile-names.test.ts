import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { openDoor } from "../support/door.ts";
import { says } from "../support/postern.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";

const MARK = "hostileMark";
/** What a log, a terminal or a metric could take for something else than a name. */
const NAMES = [
  `${MARK}\n2026-01-01T00:00:00Z login ok user=admin`,
  `${MARK}\r\n{"level":30,"msg":"session","user":"admin"}`,
  `${MARK}\u001b[2J\u001b]0;gone\u0007`,
  `${MARK}\u202enimda\u2066`,
  `${MARK}\u2028x\u2029\u0085y`,
  `${MARK}","user":"admin`,
  `${MARK}"} 5\npostern_logins_total{outcome="ok"} 99`,
  `${MARK}{listener="x"} user=admin ip=127.0.0.1`,
  `${MARK}\u0000admin`,
  `${MARK}${"y".repeat(200)}`,
];
/** Controls, changes of direction, ends of lines and paragraphs. */
const UNFIT = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const HUGE = 1_000_000;
const LIMITS = [
  { name: "seen", count: "authFailures", per: "user", limit: "1/10m", mode: "observe" },
  { name: "named", count: "authFailures", per: ["user", "ip"], limit: "2/10m", then: { ban: "1h" } },
];

for (const format of ["json", "pretty"])
  test(`names from outside stay one short value of the ${format} log, and no label of any metric`, async () => {
    await using backend = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { backend },
      users: { "alice@example.org": "right" },
      config: {
        logging: { level: "debug", format },
        policy: { exempt: [], limits: LIMITS },
        routes: [{ to: "backend" }],
      },
    });
    for (const name of NAMES)
      for (const tries of [1, 2, 3]) {
        const words = Buffer.from(`\0${name}\0wrong${tries}`).toString("base64");
        const literal = `LOGIN {${Buffer.byteLength(name)}+}\r\n${name} wrong${tries}`;
        for (const command of [`AUTHENTICATE PLAIN ${words}`, literal]) {
          await using client = await door.greetedInTls();
          await client.send(`a ${command}`);
          await client.expect(/^(a (NO|BAD) |\* (BYE|BAD) )/);
        }
      }
    for (const command of [
      `a LOGIN ${MARK}${"x".repeat(HUGE)} y`,
      `a LOGIN {${HUGE}+}`,
      `a AUTHENTICATE PLAIN ${Buffer.from(`\0${MARK}${"x".repeat(HUGE)}\0y`).toString("base64")}`,
    ]) {
      await using client = await door.greetedInTls();
      await client.send(command).catch(() => {});
      await client.expect(/^(\* BYE|a BAD|a NO|\* BAD)/);
    }
    await using last = await door.signedIn("alice@example.org", "right");
    await last.send("z LOGOUT");

    const { gateway } = door;
    const lines = gateway.output().split("\n").filter(Boolean);
    const told = lines.filter((line) => line.includes(MARK));
    assert.ok(told.length > 5, `${told.length} lines`);
    for (const line of lines) {
      assert.ok(line.length < 2_000, `a line of ${line.length}`);
      assert.doesNotMatch(line, UNFIT);
      if (format === "json") JSON.parse(line);
      else assert.match(line, /^\[?\d\d:\d\d:\d\d/);
    }
    assert.equal(lines.filter((line) => line.startsWith("2026-01-01")).length, 0);
    const metrics = await gateway.metrics();
    assert.doesNotMatch(metrics, new RegExp(`${MARK}|user=|admin"`, "i"));
    assert.equal(await gateway.metric("postern_logins_total", { outcome: "ok" }), 1);
    // What an operator is shown steers no terminal either.
    const shown = await says(gateway, "bans", new RegExp(MARK, "i"));
    for (const line of shown.split("\n")) assert.doesNotMatch(line, UNFIT);
  });
