import { type IncomingMessage, request } from "node:http";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";

/** Longer than a gateway may take to read everything anew, or to start another. */
const PATIENCE = 60_000;
const MAX_ANSWER = 64 * 1024 * 1024;

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Why nothing could be asked, in an operator's words. */
export class AskError extends Error {
  override readonly name = "AskError";
}

/** Asks the gateway that runs with this configuration, at its admin port. Throws AskError when there is no answer. */
export async function askAdmin(
  file: string,
  method: "GET" | "POST" | "DELETE",
  path: string,
  body?: object,
): Promise<Answer> {
  const loaded = loadConfig(file);
  if (!loaded.ok) throw new AskError(loaded.problems.map(formatProblem).join("\n"));
  const { admin } = loaded.config;
  try {
    return await exchange(admin, method, path, body);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AskError(`no gateway answers on ${admin.host}, port ${admin.port}: ${reason}`);
  }
}

/** Asks, and says what came of it; the exit code. */
export async function act(ask: () => Promise<Answer>, tell: (answer: Answer) => void): Promise<number> {
  try {
    const answer = await ask();
    if (answer.status === 200) {
      tell(answer);
      return 0;
    }
    const { problems, error, message } = answer.body;
    for (const problem of Array.isArray(problems) ? problems : []) console.error(String(problem));
    console.error(`postern: ${String(message ?? error ?? `answer ${answer.status}`)}`);
  } catch (error) {
    if (!(error instanceof AskError)) throw error;
    console.error(error.message);
  }
  return 1;
}

/** An address to bind is not always one to connect to. */
function reachable(host: string): string {
  return host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
}

function exchange(admin: Config["admin"], method: string, path: string, body?: object): Promise<Answer> {
  const text = body && JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asked = request({
      host: reachable(admin.host),
      port: admin.port,
      method,
      path,
      agent: false,
      timeout: PATIENCE,
      headers: {
        ...(admin.token !== undefined && { authorization: `Bearer ${admin.token}` }),
        ...(text !== undefined && { "content-type": "application/json" }),
      },
    });
    asked.on("response", (response) => resolve(read(response)));
    asked.on("timeout", () => asked.destroy(new Error(`silent for ${PATIENCE / 1000} s`)));
    asked.on("error", reject);
    asked.end(text);
  });
}

async function read(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += (chunk as Buffer).length;
    if (size > MAX_ANSWER) throw new Error("an answer without end");
    chunks.push(chunk as Buffer);
  }
  const body: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  return { status: response.statusCode ?? 0, body: (body ?? {}) as Answer["body"] };
}
