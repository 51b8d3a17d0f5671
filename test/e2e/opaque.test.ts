import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { sha256 } from "../support/mail.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "pw" };

test("after the login every byte passes as it came, in both directions", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  for (const tls of ["none", "starttls", "implicit"] as const) {
    for (const bytewise of [false, true]) {
      await t.test(`backend by ${tls}${bytewise ? ", byte by byte" : ""}`, async () => {
        const bytes = randomBytes(bytewise ? 2_000 : 2_000_000);
        await using backend = await startScriptedBackend({
          tls,
          ...(tls === "none" ? {} : { certificate }),
          acts: { fetch: { say: Buffer.concat([Buffer.from(`* 1 FETCH ~{${bytes.length}}\r\n`), bytes]) } },
        });
        await using door = await openDoor({
          authority,
          backends: { backend },
          users: USERS,
          config: { routes: [{ to: "backend" }] },
        });
        await using client = await door.signedIn("alice@example.org", "pw", { bytewise });
        await client.send("f FETCH 1 BINARY[]");
        await client.expect("* 1 FETCH ");
        assert.equal(sha256(await client.readExact(bytes.length)), sha256(bytes));

        backend.forget();
        await client.sendRaw(bytes);
        await eventually("all of it at the backend", () => backend.received().length >= bytes.length);
        assert.equal(sha256(Buffer.from(backend.received(), "latin1")), sha256(bytes));
      });
    }
  }
});
