import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { formatPolicyAttributes, PolicyAttributeReader } from "../../src/wire/policy-attributes.ts";
import { within } from "./waiting.ts";

/** What a Postfix asks with; what is left out, it does not say. */
export type Asked = Readonly<Record<string, string>>;

/** A Postfix by hand, at the socket where it asks the policy. */
export interface PolicyClient extends AsyncDisposable {
  /** The action of the answer. */
  ask(asked: Asked): Promise<string>;
  sendRaw(bytes: string): Promise<void>;
  /** The next answer's action; "closed" where there is none any more. */
  answer(): Promise<string>;
}

export async function connectPolicy(
  place: { port: number; host?: string } | { path: string },
): Promise<PolicyClient> {
  const socket = connect({ host: "127.0.0.1", ...place });
  socket.on("error", () => {});
  await within(10_000, "a connection to the policy", once(socket, "connect"));
  const answers = listen(socket);
  const sendRaw = async (bytes: string) => void socket.write(bytes);
  const answer = () => within(10_000, "an answer of the policy", answers.next());
  return {
    sendRaw,
    answer,
    async ask(asked) {
      const whole = { request: "smtpd_access_policy", ...asked };
      await sendRaw(formatPolicyAttributes(Object.entries(whole)).toString());
      return answer();
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
    },
  };
}

/** One answer after the other, as they come. */
function listen(socket: Socket): { next(): Promise<string> } {
  const reader = new PolicyAttributeReader();
  let wake = () => {};
  let closed = false;
  socket.on("data", (chunk) => {
    reader.push(chunk);
    wake();
  });
  socket.on("close", () => {
    closed = true;
    wake();
  });
  return {
    async next() {
      for (;;) {
        const answer = reader.take();
        if (typeof answer === "string") throw new Error(`no answer of a policy server: ${answer}`);
        if (answer) return answer.get("action") ?? "nothing";
        if (closed) return "closed";
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
