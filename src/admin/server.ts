import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:net";
import { type FastifyInstance, fastify, type onRequestAsyncHookHandler } from "fastify";

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  /** Asked as a bearer token of everybody who wants more than the health. */
  readonly token?: string;
  readonly metrics: { readonly contentType: string; expose(): Promise<string> };
  /** Listens on in another process's place, on the very same socket. */
  readonly inherited?: Server;
  /** Undefined when sessions can be served, otherwise why not. */
  readonly notReady: () => string | undefined;
}

export interface Admin {
  readonly port: number;
  /** The listening socket itself, for another process to listen on. */
  readonly server: Server;
  close(): Promise<void>;
}

/** The operator's door: /metrics, /healthz, /readyz. Throws when its address cannot be had. */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const server = fastify({ forceCloseConnections: true });
  server.get("/healthz", async () => ({ status: "ok" }));
  server.get("/readyz", async (_request, reply) => {
    const reason = options.notReady();
    return reason === undefined ? { status: "ready" } : reply.code(503).send({ status: "not ready", reason });
  });
  server.get("/metrics", { onRequest: bearer(options.token) }, async (_request, reply) => {
    reply.type(options.metrics.contentType);
    return options.metrics.expose();
  });
  if (options.inherited) await listenOn(server, options.inherited);
  else await server.listen({ host: options.host, port: options.port });
  return { port: portOf(server), server: server.server, close: () => close(server) };
}

async function listenOn(server: FastifyInstance, inherited: Server): Promise<void> {
  await server.ready();
  server.server.listen(inherited);
  await once(server.server, "listening");
}

async function close(server: FastifyInstance): Promise<void> {
  await server.close();
  // Fastify closes only what it opened itself.
  if (server.server.listening) server.server.close();
  server.server.closeAllConnections();
}

function bearer(token: string | undefined): onRequestAsyncHookHandler {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const wanted = token === undefined ? undefined : digest(`Bearer ${token}`);
  return async (request, reply) => {
    if (!wanted || timingSafeEqual(wanted, digest(request.headers.authorization ?? ""))) return;
    await reply
      .code(401)
      .header("www-authenticate", "Bearer")
      .send({ error: "the admin token is asked for here" });
  };
}

function portOf(server: FastifyInstance): number {
  const address = server.server.address();
  return typeof address === "object" && address ? address.port : 0;
}
