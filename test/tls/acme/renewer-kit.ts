import type { TestContext } from "node:test";
import { type AcmeCertificate, joinPair, readPair } from "../../../src/tls/acme/certificate.ts";
import { AcmeFolder } from "../../../src/tls/acme/folder.ts";
import { type Acme, type AcmeOptions, type Clock, startAcme } from "../../../src/tls/acme/renewer.ts";
import { type Authority, certificateAuthority } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/temp.ts";
import { within } from "../../support/waiting.ts";

export const DAY = 86_400_000;
export const HOUR = 3_600_000;
export const MINUTE = 60_000;
export const NAME = "mail.example.org";

const authority: Authority = await certificateAuthority();

/** Ten days old, good for so long. */
export async function certificate(endsInMs = 30 * DAY, names = [NAME]): Promise<AcmeCertificate> {
  return readPair(joinPair(await authority.issue(names, { endsInMs })));
}

/** A clock that goes when it is told to. */
export class SlowClock implements Clock {
  #now = Date.now();
  #waiting: { until: number; done: () => void } | undefined;
  #asked = Promise.withResolvers<void>();

  now(): number {
    return this.#now;
  }

  wait(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (signal.aborted) reject(signal.reason);
    this.#waiting = { until: this.#now + ms, done: resolve };
    this.#asked.resolve();
    return promise;
  }

  /** Settles when the renewer has nothing to do but wait. */
  idle(): Promise<void> {
    return within(10_000, "the renewer to wait", this.#asked.promise);
  }

  /** Lets time pass, a wait at a time, with all that happens meanwhile. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await this.idle();
    while (this.#waiting && this.#waiting.until <= end) {
      const { until, done } = this.#waiting;
      this.#waiting = undefined;
      this.#asked = Promise.withResolvers<void>();
      this.#now = until;
      done();
      await this.idle();
    }
    this.#now = end;
  }
}

export interface Bench {
  readonly clock: SlowClock;
  readonly folder: AcmeFolder;
  /** Certificates that clients were to see, in order; `own` is the temporary one. */
  readonly used: string[];
  /** When orders were placed, in milliseconds since the start. */
  readonly orders: number[];
  /** What was told of orders: "ok", or the reason; in brackets when it was no news. */
  readonly told: string[];
  readonly broken: string[];
  start(options?: Partial<AcmeOptions>): Promise<Acme>;
}

/** A renewer with a clock of the test's; what an order comes to is the test's to say. */
export async function bench(
  t: TestContext,
  { order, domains = [NAME], dataDir }: { order: AcmeOptions["order"]; domains?: string[]; dataDir?: string },
): Promise<Bench> {
  const place = await temporaryFolder();
  t.after(() => place.remove());
  const clock = new SlowClock();
  const began = clock.now();
  const folder = new AcmeFolder(dataDir ?? place.path, { directory: "https://ca.example/dir", domains });
  await folder.open();
  const used: string[] = [];
  const orders: number[] = [];
  const told: string[] = [];
  const broken: string[] = [];
  const start = async (options: Partial<AcmeOptions> = {}): Promise<Acme> => {
    const acme = await startAcme({
      wish: { domains, renewBefore: 30 * DAY },
      folder,
      clock,
      luck: () => 0,
      use: ({ cert }) => used.push(cert),
      showTemporary: async () => void used.push("own"),
      order: (key, signal) => {
        orders.push(clock.now() - began);
        return order(key, signal);
      },
      observer: {
        inUse: () => {},
        brokenFile: ({ message }) => broken.push(message),
        ordered: (failure) => {
          const reason = failure?.reason ?? "ok";
          told.push(failure?.news === false ? `(${reason})` : reason);
        },
      },
      ...options,
    });
    t.after(() => acme[Symbol.asyncDispose]());
    return acme;
  };
  return { clock, folder, used, orders, told, broken, start };
}
