import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A way to a server that can be made slow, or swallow everything as a lost network does: no end is told, nothing comes. */
export interface SlowLink extends AsyncDisposable {
  readonly port: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Each chunk of both directions comes so much later, in milliseconds. */
  delay(ms: number): void;
  /** From now on nothing passes, and new connections meet nobody. */
  cut(): void;
  /** What was swallowed stays so; its connections end, as they would when the other side hears of them again. */
  mend(): void;
}

export async function openLink(port: number): Promise<SlowLink> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let delayMs = 0;
  let isCut = false;
  const carry = (from: Socket, to: Socket): void => {
    from.on("data", (chunk) => {
      if (isCut) return;
      if (delayMs === 0) to.write(chunk);
      else setTimeout(() => !to.destroyed && to.write(chunk), delayMs);
    });
    from.on("error", () => {});
    from.on("close", () => to.destroy());
  };
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port, host: "127.0.0.1", noDelay: true });
    const pair = [near, far] as const;
    pairs.add(pair);
    near.on("close", () => pairs.delete(pair));
    carry(near, far);
    carry(far, near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endAll = (): void => {
    for (const [near, far] of pairs) {
      near.destroy();
      far.destroy();
    }
  };
  return {
    port: (server.address() as AddressInfo).port,
    get open() {
      return pairs.size;
    },
    delay(ms) {
      delayMs = ms;
    },
    cut() {
      isCut = true;
    },
    mend() {
      isCut = false;
      endAll();
    },
    async [Symbol.asyncDispose]() {
      endAll();
      server.close();
    },
  };
}
