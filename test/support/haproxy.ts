import { connect } from "./conversation.ts";
import { freePort } from "./ports.ts";
import { startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";
import { eventually } from "./waiting.ts";

export interface Balanced {
  /** The gateway's port. */
  readonly to: number;
  /** The PROXY header that it sends. */
  readonly header: "send-proxy" | "send-proxy-v2";
  /** How often it looks whether the gateway is there; not at all without. */
  readonly checkMs?: number;
}

/** A private HAProxy in TCP mode, from whose loopback address the gateway hears it. */
export interface Haproxy extends AsyncDisposable {
  /** Its own port for each service, in their order. */
  readonly ports: readonly number[];
  output(): string;
}

export async function startHaproxy(services: readonly Balanced[]): Promise<Haproxy> {
  const folder = await temporaryFolder();
  const ports: number[] = [];
  const sections: string[] = [];
  for (const { to, header, checkMs } of services) {
    const port = await freePort();
    const check = checkMs === undefined ? "" : ` check inter ${checkMs}`;
    ports.push(port);
    sections.push(
      `listen s${port}\n  bind 127.0.0.1:${port}\n  server gateway 127.0.0.1:${to} ${header}${check}\n`,
    );
  }
  const ready = await freePort();
  const config = await folder.write(
    "haproxy.cfg",
    `global
  log stdout format raw local0
defaults
  mode tcp
  log global
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend ready
  bind 127.0.0.1:${ready}
${sections.join("")}`,
  );
  const child = await startProcess("haproxy", ["-db", "-f", config], { name: "haproxy" });
  await eventually(
    () => `haproxy to be ready\n${child.output()}`,
    async () => {
      if (!child.running) throw new Error(`haproxy did not start:\n${child.output()}`);
      const probe = await connect({ port: ready }).catch(() => undefined);
      await probe?.[Symbol.asyncDispose]();
      return probe !== undefined;
    },
  ).catch(async (error) => {
    await child.stop(100);
    throw error;
  });
  return {
    ports,
    output: () => child.output(),
    async [Symbol.asyncDispose]() {
      // TERM lets its connections end, which wait for the test.
      await child.stop(100);
      await folder.remove();
    },
  };
}
