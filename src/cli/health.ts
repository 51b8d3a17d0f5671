import { request } from "node:http";
import { printable } from "../wire/printable.ts";

/** Less than a container engine's own patience, so that the reason is heard, in milliseconds. */
const PATIENCE = 3_000;
/** More than /readyz ever says. */
const MAX_ANSWER = 4_096;

/**
 * `postern health`: asks a running gateway, on its admin port, whether it serves clients; 0 when it does. What a
 * container's HEALTHCHECK calls, in an image without curl. It reads no configuration: one that is being edited, or
 * broken, says nothing about the gateway that still runs on the old one.
 */
export async function health(host: string, port: number): Promise<number> {
  try {
    const { status, text } = await ask(host, port);
    console.log(printable(text, MAX_ANSWER));
    return status === 200 ? 0 : 1;
  } catch (error) {
    console.error(`no answer from ${host}, port ${port}: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

function ask(host: string, port: number): Promise<{ status: number | undefined; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number | undefined; text: string }>();
  const signal = AbortSignal.timeout(PATIENCE);
  const asked = request({ host, port, path: "/readyz", agent: false, signal }, (answer) => {
    let text = "";
    answer.setEncoding("utf8");
    answer.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > MAX_ANSWER) answer.destroy(new Error("that is no gateway's answer"));
    });
    answer.on("end", () => resolve({ status: answer.statusCode, text }));
    answer.on("error", reject);
  });
  asked.on("error", reject);
  asked.end();
  return promise;
}
