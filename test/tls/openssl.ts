import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder in which OpenSSL's tool works for the time of a test. */
export interface Workshop extends Disposable {
  readonly path: string;
  /** Runs `openssl` with these words, in the folder. */
  openssl(...words: string[]): void;
  read(name: string): Buffer;
}

export function openWorkshop(): Workshop {
  const path = mkdtempSync(join(tmpdir(), "postern-openssl-"));
  return {
    path,
    openssl: (...words) =>
      void execFileSync("openssl", words, { cwd: path, stdio: ["ignore", "pipe", "pipe"] }),
    read: (name) => readFileSync(join(path, name)),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** Makes NAME.pem and NAME.key, signed by itself. */
export function makeOwn(shop: Workshop, name: string, keyType: readonly string[], days = 30): void {
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}.example.org`];
  const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
  shop.openssl("req", "-x509", "-nodes", "-newkey", ...keyType, ...files, ...subject, "-days", String(days));
}

export const RSA = ["rsa:2048"];
export const P256 = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
