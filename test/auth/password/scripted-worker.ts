import { parentPort } from "node:worker_threads";
import type { HashAnswer, HashJob } from "../../../src/auth/password/hash-worker.ts";

/** A worker whose password says what it does. */
parentPort?.on("message", ({ password }: HashJob) => {
  if (password === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  if (password === "exit") process.exit(3);
  if (password === "throw") throw new Error("on purpose");
  const answer: HashAnswer = password === "fail" ? { failed: "ON_PURPOSE" } : { right: password === "right" };
  parentPort?.postMessage(answer);
});
