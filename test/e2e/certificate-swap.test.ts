import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { type Certificate, certificateAuthority } from "../support/certificates.ts";
import { openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const EVERY_MS = 10;
const SWAPS = 10;

/** Shakes hands all the time; knows which certificate it has seen last, and whatever went wrong. */
function startHandshakes(port: number, ca: readonly string[]) {
  const failures: string[] = [];
  let done = 0;
  let open = 0;
  let last = "";
  const timer = setInterval(() => {
    open += 1;
    const socket = connectTls({ port, host: "127.0.0.1", servername: "localhost", ca: [...ca] });
    const end = (failure?: string): void => {
      if (failure !== undefined) failures.push(failure);
      socket.destroy();
    };
    socket.setTimeout(5_000, () => end("silence"));
    socket.once("error", (error) => end(error.message));
    // The greeting: with TLS 1.3 a handshake can fail after the client is content.
    socket.once("data", () => {
      done += 1;
      last = String(socket.getPeerX509Certificate());
      end();
    });
    socket.once("close", () => {
      open -= 1;
    });
  }, EVERY_MS);
  return {
    failures,
    done: () => done,
    sees: (certificate: Certificate) =>
      eventually("the new certificate in a handshake", () => {
        return last.trim() === certificate.cert.replaceAll("\r", "").trim();
      }),
    async stop() {
      clearInterval(timer);
      await eventually("the last handshakes to end", () => open === 0);
    },
  };
}

// F9.
test("certificates are swapped under a hundred handshakes a second, once with a wrong key, and none fails", async (t) => {
  // Each authority has one key for all that it issues.
  const authorities = [await certificateAuthority("One"), await certificateAuthority("Two")] as const;
  const issue = (turn: number) => authorities[(turn % 2) as 0 | 1].issue(["localhost", "127.0.0.1"]);
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: authorities[0],
    backends: { backend },
    users: { "alice@example.org": "pw" },
    config: { routes: [{ to: "backend" }], policy: { limits: [] } },
  });
  const { folder } = door.gateway;
  const replace = async (name: string, text: string): Promise<void> => {
    await rename(await folder.write(`${name}.new`, text), folder.at(name));
  };
  await using session = await door.signedIn("alice@example.org", "pw");
  const handshakes = startHandshakes(
    door.ports.implicit,
    authorities.map(({ ca }) => ca),
  );

  let current: Certificate | undefined;
  for (let swap = 1; swap <= SWAPS; swap += 1) {
    current = await issue(swap);
    // One after the other: in between they do not belong together.
    await replace("door.pem", current.cert);
    await replace("door.key", current.key);
    await handshakes.sees(current);
  }
  assert.ok(current);
  const wrong = await issue(SWAPS + 1);
  const broken = () =>
    door.gateway.log().filter(({ msg }) => /^the new certificate is broken/.test(String(msg)));
  await replace("door.key", wrong.key);
  await eventually("the log to say that the key is wrong", () => broken().length > 0);
  await handshakes.sees(current);
  await replace("door.pem", wrong.cert);
  await handshakes.sees(wrong);

  await handshakes.stop();
  assert.deepEqual(handshakes.failures, []);
  t.diagnostic(`${handshakes.done()} handshakes`);
  assert.ok(handshakes.done() > SWAPS * 10);
  assert.equal(broken().length, 1);
  assert.match(String(broken()[0]?.["reason"]), /door\.key: is not the key of this certificate/);

  await session.send("n NOOP");
  await session.expect("n OK ");
  assert.equal(await door.gateway.metric("postern_tls_handshake_failures_total"), 0);
  const left = await door.gateway.metric("postern_certificate_expiry_seconds", { certificate: "localhost" });
  assert.ok(Math.abs(left - 30 * 86_400) < 600, String(left));
});
