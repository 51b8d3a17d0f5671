import { rmSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clearAtExit } from "./leftovers.ts";

/** A folder of one test, gone after it. */
export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
  /** A path inside. */
  at(...names: string[]): string;
  /** Writes a file inside and gives its path. */
  write(name: string, content: string | Uint8Array): Promise<string>;
  remove(): Promise<void>;
}

export async function temporaryFolder(): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(tmpdir(), "postern-test-"));
  // Real servers drop root's rights and must still pass through.
  await chmod(path, 0o755);
  const takeBack = clearAtExit(() => rmSync(path, { recursive: true, force: true }));
  const remove = async () => {
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
    takeBack();
  };
  const at = (...names: string[]) => join(path, ...names);
  return {
    path,
    at,
    async write(name, content) {
      await writeFile(at(name), content);
      return at(name);
    },
    remove,
    [Symbol.asyncDispose]: remove,
  };
}
