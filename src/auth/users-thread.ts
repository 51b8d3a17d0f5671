import { parentPort, workerData } from "node:worker_threads";
import { parseUsersFile } from "./users-file.ts";

/** Runs in a thread of its own: parses one large users file and ends. */
const { text, file, backends } = workerData as { text: string; file: string; backends?: readonly string[] };
parentPort?.postMessage(parseUsersFile(text, file, backends));
