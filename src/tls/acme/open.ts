import { readFile } from "node:fs/promises";
import type { KeyPair } from "../key-pair.ts";
import { type AlpnAnswers, alpnChallenger } from "./alpn-challenge.ts";
import type { Challenger } from "./challenge.ts";
import { dnsHook } from "./dns-hook.ts";
import { AcmeFolder } from "./folder.ts";
import { listenForChallenges } from "./http-challenge.ts";
import { type OrderSettings, orderCertificate } from "./order.ts";
import { type Acme, type AcmeObserver, startAcme } from "./renewer.ts";
import type { RenewalWish } from "./schedule.ts";
import { type AcmeSharing, CertificateExchange } from "./sharing.ts";

/** What an operator says about ACME. */
export interface AcmeSettings extends OrderSettings, RenewalWish {
  readonly challenge: Challenger["type"];
  readonly httpHost?: string;
  readonly httpPort: number;
  readonly dnsHook?: readonly string[];
  /** A file of authorities, PEM. */
  readonly ca?: string;
}

export interface AcmeSurroundings {
  readonly dataDir: string;
  readonly answers: AlpnAnswers;
  readonly use: (pair: KeyPair) => void;
  readonly showTemporary: (() => Promise<void>) | undefined;
  readonly observer: AcmeObserver;
  /** Hears what the hook for DNS has to say. */
  readonly hookSaid: (line: string) => void;
  /** With other gateways; without it this one is alone. */
  readonly sharing?: AcmeSharing | undefined;
}

/** ACME as configured, ready to order. Throws, in an operator's words, when a port, a file or the folder cannot be had. */
export async function openAcme(settings: AcmeSettings, around: AcmeSurroundings): Promise<Acme> {
  await using parts = new AsyncDisposableStack();
  const ca = settings.ca === undefined ? undefined : await readFile(settings.ca, "utf8");
  const challenger = await openChallenger(settings, around, parts);
  const folder = new AcmeFolder(around.dataDir, settings);
  const { sharing } = around;
  const exchange = sharing && parts.use(new CertificateExchange(folder, sharing.certificate(folder.name)));
  const acme = await startAcme({
    ...around,
    lease: sharing?.leases,
    exchange,
    wish: settings,
    folder,
    order: (accountKey, signal) => orderCertificate({ settings, ca, accountKey, challenger, signal }),
  }).catch((error: Error) => {
    throw new Error(`cannot keep certificates in ${folder.path}: ${error.message}`, { cause: error });
  });
  parts.use(acme);
  const running = parts.move();
  return { renew: () => acme.renew(), [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function openChallenger(
  { challenge, httpHost: host, httpPort: port, dnsHook: command = [] }: AcmeSettings,
  { answers, hookSaid, sharing }: AcmeSurroundings,
  parts: AsyncDisposableStack,
): Promise<Challenger> {
  switch (challenge) {
    case "http-01": {
      const where = { port, ...(host !== undefined && { host }) };
      const listener = await listenForChallenges(where, sharing?.answers).catch((error: Error) => {
        throw new Error(`cannot listen for http-01 on port ${port}: ${error.message}`, { cause: error });
      });
      return parts.use(listener);
    }
    case "tls-alpn-01":
      return alpnChallenger(answers);
    case "dns-01":
      return dnsHook({ command, said: hookSaid });
  }
}
