import { Worker } from "node:worker_threads";
import { parseUsersFile, type UsersFile } from "./users-file.ts";

/** A file up to this is parsed where it is read, in some 20 ms; a larger one would hold up every session. */
const INLINE_CHARS = 64 * 1024;
const THREAD = new URL(
  import.meta.url.endsWith(".ts") ? "./users-thread.ts" : "./users-thread.js",
  import.meta.url,
);

/** `parseUsersFile` that never blocks the event loop for long. Rejects only if its thread dies. */
export async function readUsers(
  text: string,
  file: string,
  backends?: readonly string[],
): Promise<UsersFile> {
  if (text.length <= INLINE_CHARS) return parseUsersFile(text, file, backends);
  const { promise, resolve, reject } = Promise.withResolvers<UsersFile>();
  const thread = new Worker(THREAD, { name: "postern-users", workerData: { text, file, backends } });
  thread.once("message", resolve);
  thread.once("error", reject);
  thread.once("exit", (code) => reject(new Error(`the thread that reads ${file} ended with code ${code}`)));
  return promise;
}
