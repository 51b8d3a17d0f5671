import { parentPort } from "node:worker_threads";
import { parseStored } from "./stored-password.ts";

/** What a worker thread is asked, one at a time. */
export interface HashJob {
  readonly stored: string;
  readonly password: string;
}

/** `failed` names what went wrong, never the secrets it went wrong with. */
export type HashAnswer = { readonly right: boolean } | { readonly failed: string };

parentPort?.on("message", (job: HashJob) => parentPort?.postMessage(answer(job)));

function answer({ stored, password }: HashJob): HashAnswer {
  try {
    const parsed = parseStored(stored);
    return "problem" in parsed ? { failed: parsed.problem } : { right: parsed.matches(password) };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return { failed: typeof code === "string" ? code : "unknown error" };
  }
}
