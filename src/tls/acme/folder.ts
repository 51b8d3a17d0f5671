import { chmod, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere, replaceFile } from "../../io/whole-file.ts";
import { type AcmeCertificate, joinPair, readPair } from "./certificate.ts";
import { newKey } from "./keys.ts";

const MAX_FILE_BYTES = 1 << 20;

/** What a failed order leaves for the next start. */
export interface FailedTry {
  readonly at: number;
  readonly reason: string;
  /** No new try before this time: the authority's wish. */
  readonly notBefore: number;
}

/** Where ACME keeps its files below `dataDir`: one folder for each authority, as what is good at one is not at another. */
export class AcmeFolder {
  readonly path: string;
  /** Key and chain in one file: what replaces both is one rename. */
  readonly certificatePath: string;
  /** What this certificate is called wherever its folder is: authority and first domain. */
  readonly name: string;
  readonly #root: string;

  constructor(dataDir: string, { directory, domains }: { directory: string; domains: readonly string[] }) {
    const { host, pathname } = new URL(directory);
    this.#root = join(dataDir, "acme");
    const authority = `${host}${pathname}`.replaceAll(/[^A-Za-z0-9.]+/g, "-");
    const first = domains[0]?.replace("*", "_");
    this.path = join(this.#root, authority);
    this.certificatePath = join(this.path, `${first}.pem`);
    this.name = `${authority}/${first}`;
  }

  /** Makes the folders, for us alone. Throws when they cannot be had. */
  async open(): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    for (const folder of [this.#root, this.path]) await chmod(folder, 0o700);
  }

  /** The key that the account at the authority hangs on; made when there is none. */
  async accountKey(): Promise<string> {
    const path = join(this.path, "account.key");
    const known = await readIfThere(path, MAX_FILE_BYTES);
    if (known !== undefined) return known;
    const key = await newKey("ecdsa");
    await replaceFile(path, [key]);
    return key;
  }

  /** The certificate that is there. Throws when the file is broken. */
  async readCertificate(): Promise<AcmeCertificate | undefined> {
    const text = await readIfThere(this.certificatePath, MAX_FILE_BYTES);
    return text === undefined ? undefined : readPair(text);
  }

  async writeCertificate(certificate: AcmeCertificate): Promise<void> {
    await replaceFile(this.certificatePath, [joinPair(certificate)]);
  }

  /** How the last order failed, unless it went well. */
  async readFailure(): Promise<FailedTry | undefined> {
    try {
      const { at, reason, notBefore } = Object(
        JSON.parse((await readIfThere(this.#failurePath, MAX_FILE_BYTES)) ?? "null"),
      );
      if (typeof at !== "number" || typeof notBefore !== "number") return undefined;
      return { at, notBefore, reason: String(reason) };
    } catch {
      return undefined;
    }
  }

  async writeFailure(failure: FailedTry | undefined): Promise<void> {
    if (failure) await replaceFile(this.#failurePath, [`${JSON.stringify(failure)}\n`]);
    else await rm(this.#failurePath, { force: true });
  }

  get #failurePath(): string {
    return join(this.path, "failed.json");
  }
}
