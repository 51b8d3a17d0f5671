import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Challenger } from "./challenge.ts";
import type { SharedAnswers } from "./sharing.ts";

/** RFC 8555 8.3: the authority asks for this path and the token. */
const PATH = "/.well-known/acme-challenge/";
/** A whole request may take so long, in milliseconds. */
const REQUEST_MS = 5_000;
const MAX_HEADER_BYTES = 8 * 1024;
/** A socket each: whoever holds all of them keeps the authority out for as long as he goes on. */
const MAX_CONNECTIONS = 512;
/** RFC 8555 8.3: base64url, which is all that the others are asked for. */
const TOKEN = /^[A-Za-z0-9_-]{16,128}$/;

export interface HttpChallenger extends Challenger, AsyncDisposable {
  readonly port: number;
}

/**
 * A listener of its own for http-01, open as long as the gateway: port 80 may need rights that it has at its start
 * only. It knows the tokens of the order that is under way, here or at another gateway that shares its
 * answers, and says 404 to everything else.
 */
export async function listenForChallenges(
  where: { host?: string; port: number },
  shared?: SharedAnswers,
): Promise<HttpChallenger> {
  const own = new Map<string, string>();
  const answers: Answers = async (token) =>
    own.get(token) ?? (TOKEN.test(token) ? await shared?.find(token) : undefined);
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: 1_000,
      keepAlive: false,
    },
    (request, response) => void answer(answers, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.maxRequestsPerSocket = 1;
  // A request that says `Expect: 100-continue` has nothing to send that we want.
  server.on("checkContinue", (request, response) => void answer(answers, request, response));
  server.on("connect", (_request, socket) => socket.destroy());
  server.listen(where);
  await once(server, "listening");
  // An accept that fails for want of descriptors must not end the process; the next one may work.
  server.on("error", () => {});
  return {
    type: "http-01",
    port: (server.address() as AddressInfo).port,
    async present({ token, keyAuthorization }) {
      const elsewhere = await shared?.show(token, keyAuthorization);
      own.set(token, keyAuthorization);
      return {
        async [Symbol.asyncDispose]() {
          own.delete(token);
          await elsewhere?.[Symbol.asyncDispose]();
        },
      };
    },
    [Symbol.asyncDispose]: () => close(server),
  };
}

type Answers = (token: string) => Promise<string | undefined>;

async function answer(
  answers: Answers,
  { method, url = "" }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const asked = method === "GET" || method === "HEAD";
  const found = asked && url.startsWith(PATH) ? await answers(url.slice(PATH.length)) : undefined;
  response.writeHead(found === undefined ? 404 : 200, {
    "content-type": "application/octet-stream",
    "content-length": found?.length ?? 0,
    "x-content-type-options": "nosniff",
    connection: "close",
  });
  response.end(found);
}

async function close(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}
