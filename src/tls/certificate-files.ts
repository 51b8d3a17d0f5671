import { readFileSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { FileFollower, type FollowerOptions } from "../io/file-follower.ts";
import type { CertificateStore } from "./certificate-store.ts";
import { isPair, type KeyPair, type PairBytes, type PairProblem, readPair } from "./key-pair.ts";

/** Where one certificate is, as configured: absolute paths. */
export interface CertificateSource {
  readonly cert?: string;
  readonly key?: string;
  readonly pkcs12?: string;
  /** Secret. */
  readonly passphrase?: string;
}

export interface CertificateFilesEvents {
  /** `path` is the certificate's file. */
  onSwapped(path: string): void;
  onProblem(path: string, problem: string): void;
}

const MAX_BYTES = 1024 * 1024;

/** Puts the configured certificates into the store, and follows their files. Throws in an operator's words. */
export function openCertificateFiles(store: CertificateStore, sources: readonly CertificateSource[]) {
  const pairs = sources.map((source) => believed(source, readPair(bytesNow(source))));
  store.setPairs("files", pairs);
  return {
    /** From now on, until disposed of: each new certificate for the handshakes to come. */
    follow(events: CertificateFilesEvents, options?: FollowerOptions): Disposable {
      const stack = new DisposableStack();
      for (const [at, source] of sources.entries()) {
        const path = pathsOf(source)[0] ?? "";
        const follower = new FileFollower(
          pathsOf(source),
          JSON.stringify(pairs[at]),
          {
            read: async () => JSON.stringify(believed(source, readPair(await bytesOf(source)))),
            take(text) {
              const next = pairs.with(at, JSON.parse(text) as KeyPair);
              store.setPairs("files", next);
              pairs.splice(0, pairs.length, ...next);
            },
            onTaken: () => events.onSwapped(path),
            onProblem: (problem) => events.onProblem(path, problem),
          },
          options,
        );
        stack.use(follower);
      }
      return stack;
    },
  };
}

/** The certificate's own file first. */
function pathsOf({ cert, key, pkcs12 }: CertificateSource): string[] {
  return [pkcs12, cert, key].filter((path) => path !== undefined);
}

function believed(source: CertificateSource, found: KeyPair | PairProblem): KeyPair {
  if (isPair(found)) return found;
  const path = source[found.at === "passphrase" ? (source.pkcs12 ? "pkcs12" : "key") : found.at];
  throw new Error(`${path}: ${found.at === "passphrase" ? "the passphrase " : ""}${found.problem}`);
}

function bytesNow({ cert, key, pkcs12, ...more }: CertificateSource): PairBytes {
  if (pkcs12 !== undefined) return { ...more, pkcs12: readFileSync(pkcs12) };
  return { ...more, cert: readFileSync(cert ?? ""), key: readFileSync(key ?? "") };
}

async function bytesOf({ cert, key, pkcs12, ...more }: CertificateSource): Promise<PairBytes> {
  if (pkcs12 !== undefined) return { ...more, pkcs12: await bytesAt(pkcs12) };
  return { ...more, cert: await bytesAt(cert ?? ""), key: await bytesAt(key ?? "") };
}

/** Off the event loop: the disk may be slow while sessions run. */
export async function bytesAt(path: string): Promise<Buffer> {
  const facts = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${path}: cannot be read: ${error.code}`);
  });
  // A pipe would hold one of libuv's threads for ever.
  if (!facts.isFile()) throw new Error(`${path}: is not a regular file`);
  if (facts.size > MAX_BYTES) throw new Error(`${path}: is larger than ${MAX_BYTES} bytes`);
  return readFile(path);
}
