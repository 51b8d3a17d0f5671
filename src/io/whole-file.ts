import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** A small file's text, or undefined where there is none. Throws when it cannot be read, or has more than `maxBytes`. */
export async function readIfThere(path: string, maxBytes: number): Promise<string | undefined> {
  return (await readBytesIfThere(path, maxBytes))?.toString("utf8");
}

/** The same, as it is. */
export async function readBytesIfThere(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    if ((await stat(path)).size > maxBytes) throw new Error("it is too large");
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Whoever reads, and whenever the power fails: the old content whole, or the new one whole. For us alone. A chunk is
 * asked for when the one before it is written.
 */
export async function replaceFile(path: string, chunks: Iterable<string | Uint8Array>): Promise<void> {
  const fresh = `${path}.new`;
  // Left by a crash, perhaps; and nothing is written through a link that somebody laid there.
  await rm(fresh, { force: true });
  const file = await open(fresh, "wx", 0o600);
  try {
    for (const chunk of chunks) await file.writeFile(chunk);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(fresh, path);
  const folder = await open(dirname(path));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
