import { type AcmeCertificate, joinPair, readPair } from "./certificate.ts";
import type { AcmeFolder } from "./folder.ts";
import type { Lease } from "./renewer.ts";

/** How long until a replica has what another one ordered, and until what it has is put out again. */
const LOOK_MS = 10_000;

/** What several gateways do as one: whatever one of them orders is for all. */
export interface AcmeSharing {
  readonly leases: Lease;
  certificate(name: string): SharedText;
  readonly answers: SharedAnswers;
}

/** A text that all of them see. */
export interface SharedText {
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
}

/** Answers to an authority that may knock at any of them. */
export interface SharedAnswers {
  show(token: string, answer: string): Promise<AsyncDisposable>;
  /** Never rejects. */
  find(token: string): Promise<string | undefined>;
}

/**
 * Keeps the certificate in the folder and the one that all see the same: the newer one is put in the place of the
 * other. Whoever uses the folder's certificate follows its file.
 */
export class CertificateExchange implements Disposable {
  readonly #folder: AcmeFolder;
  readonly #shared: SharedText;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> = Promise.resolve();

  constructor(folder: AcmeFolder, shared: SharedText, lookMs = LOOK_MS) {
    this.#folder = folder;
    this.#shared = shared;
    // A store that is away costs a look; a broken file is told by whoever uses it.
    this.#timer = setInterval(() => void this.sync().catch(() => {}), lookMs).unref();
  }

  /** One at a time, or an older certificate could overtake a newer one. */
  sync(): Promise<void> {
    this.#running = this.#running.catch(() => {}).then(() => this.#sync());
    return this.#running;
  }

  async #sync(): Promise<void> {
    const ours = await this.#folder.readCertificate().catch(() => undefined);
    const text = await this.#shared.read();
    const theirs = text === undefined ? undefined : read(text);
    if (theirs && isNewer(theirs, ours)) await this.#folder.writeCertificate(theirs);
    // Again and again, so that it is there for as long as somebody has it.
    else if (ours) await this.#shared.write(joinPair(ours));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function isNewer(one: AcmeCertificate, other: AcmeCertificate | undefined): boolean {
  return one.cert !== other?.cert && (other === undefined || one.validFrom > other.validFrom);
}

function read(text: string): AcmeCertificate | undefined {
  try {
    return readPair(text);
  } catch {
    return undefined;
  }
}
