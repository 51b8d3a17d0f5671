import { createServer, type Server } from "node:net";
import type { TestContext } from "node:test";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { Channel, type TlsFacts } from "../../src/io/channel.ts";
import { Refused } from "../../src/refusal.ts";
import type { CertificateStore } from "../../src/tls/certificate-store.ts";
import { type FailureCause, failureCause } from "../../src/tls/failure.ts";
import { type ListenerTls, serverTls } from "../../src/tls/frontend.ts";
import { within } from "../support/waiting.ts";

export interface TlsDoorOptions extends Partial<ListenerTls> {
  readonly store: CertificateStore;
  readonly deadlineMs?: number;
}

export interface TlsDoor {
  readonly port: number;
  /** What came of each handshake, in order: "secured", or the error. */
  readonly outcomes: string[];
  /** What the metrics would say of those that failed. */
  readonly causes: (FailureCause | undefined)[];
  /** What the others agreed on. */
  readonly facts: TlsFacts[];
  settled(count: number): Promise<void>;
}

/** A port where each connection begins TLS at once, on the real channel, with a deadline. */
export async function tlsDoor(t: TestContext, options: TlsDoorOptions): Promise<TlsDoor> {
  const { store, deadlineMs = 3_000, ...listener } = options;
  const tls = serverTls(store, { listener: "imaps", implicit: true, alpn: ["imap"], ...listener });
  const outcomes: string[] = [];
  const causes: (FailureCause | undefined)[] = [];
  const facts: TlsFacts[] = [];
  const channels: Channel[] = [];
  let wake = (): void => {};
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    const channel = new Channel(socket, 1 << 20);
    channels.push(channel);
    channel.setDeadline(deadlineMs, () => new Refused("loginTimeout", "handshake"));
    channel
      .startTls((raw, hello) => tls.wrap(raw, hello), { enough: tls.enough, implicit: true })
      .then(
        async () => {
          outcomes.push("secured");
          if (channel.tls) facts.push(channel.tls);
          await channel.write("hello\r\n");
          for (;;) await channel.readLine(100);
        },
        (error: Error) => {
          causes.push(failureCause(error));
          outcomes.push(error instanceof Refused ? error.refusal.kind : error.name);
        },
      )
      .catch(() => {})
      .finally(() => {
        wake();
        channel.end(100);
      });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    for (const channel of channels) channel.destroy();
  });
  return {
    port: (server.address() as { port: number }).port,
    outcomes,
    causes,
    facts,
    settled: (count) =>
      within(
        6_000,
        () => `${count} handshakes to end; so far ${outcomes}`,
        (async () => {
          while (outcomes.length < count) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        })(),
      ),
  };
}

/** A TLS client: its socket once secured, or the error. */
export async function knock(
  t: TestContext,
  port: number,
  options: ConnectionOptions = {},
  prepare: (socket: TLSSocket) => void = () => {},
): Promise<TLSSocket> {
  const socket = connectTls({ port, host: "127.0.0.1", ...options });
  prepare(socket);
  t.after(() => socket.destroy());
  await within(
    5_000,
    "a handshake",
    new Promise<void>((resolve, reject) => {
      // A certificate or version that the server does not like shows only after our side is done (TLS 1.3).
      socket.once("data", () => resolve());
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("closed")));
    }),
  );
  return socket;
}
