import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";

/** One request as it came. */
export interface Told {
  readonly command: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What is answered: a status as weakforced has it, or whatever a test does with the response. */
export type Say = number | ((response: ServerResponse, told: Told) => void);

/** A policy server of scripted answers, as weakforced is one, and a witness of what it was told. */
export interface AuthPolicyServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly told: Told[];
  /** The requests of one command. */
  heard(command: "allow" | "report"): Told[];
  /** How many requests were about this login. */
  about(login: string): number;
  /** Requests that wait for their answer now, and the most there have ever been. */
  readonly waiting: number;
  readonly mostWaiting: number;
  /** Connections that are open now. */
  connections(): Promise<number>;
  /** What questions are answered from now on. */
  say(answer: Say): void;
  decide(answer: (told: Told) => Say): void;
  /** Reports are not answered from now on. */
  silence(): void;
}

export async function startAuthPolicyServer(first: Say = 0): Promise<AuthPolicyServer> {
  const told: Told[] = [];
  let decide: (told: Told) => Say = () => first;
  let silent = false;
  let waiting = 0;
  let mostWaiting = 0;
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = await request.toArray();
    const { search, searchParams } = new URL(request.url ?? "", "http://policy");
    const one = {
      command: searchParams.get("command") ?? "",
      query: search,
      headers: request.headers,
      body: JSON.parse(Buffer.concat(chunks).toString()),
    };
    told.push(one);
    const answer = one.command === "report" ? 0 : decide(one);
    waiting += 1;
    mostWaiting = Math.max(mostWaiting, waiting);
    response.on("close", () => {
      waiting -= 1;
    });
    if (silent && one.command === "report") return;
    if (typeof answer !== "number") return answer(response, one);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ status: answer, msg: answer < 0 ? "said\nno" : "", r_attrs: {} }));
  };
  const server = createServer((request, response) => {
    // A client that goes away in the middle is no fault of ours.
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}/`,
    told,
    heard: (command) => told.filter((one) => one.command === command),
    about: (login) => told.filter(({ body }) => body["login"] === login).length,
    get waiting() {
      return waiting;
    },
    get mostWaiting() {
      return mostWaiting;
    },
    connections: promisify(server.getConnections.bind(server)),
    say(answer) {
      decide = () => answer;
    },
    decide(answer) {
      decide = answer;
    },
    silence() {
      silent = true;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}
