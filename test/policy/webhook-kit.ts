import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { PolicyEvent } from "../../src/policy/events/event.ts";
import type { Certificate } from "../support/certificates.ts";

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A server that is told of events, and answers as the test likes. */
export interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly received: Received[];
  /** All events so far, in their order. */
  events(): PolicyEvent[];
}

export async function startReceiver(
  answer: (response: ServerResponse, times: number) => void = (response) => response.end(),
  port = 0,
  certificate?: Certificate,
): Promise<Receiver> {
  const received: Received[] = [];
  const listen = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    received.push({ path: request.url ?? "", headers: request.headers, body });
    answer(response, received.length);
  };
  const server = certificate ? createSecureServer({ ...certificate }, listen) : createServer(listen);
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `${certificate ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}/hook?token=t0ken`,
    received,
    events: () => received.flatMap(({ body }) => (JSON.parse(body) as { events: PolicyEvent[] }).events),
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
