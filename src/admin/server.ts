import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import type { Server, Socket } from "node:net";
import { type FastifyInstance, fastify, type onRequestAsyncHookHandler } from "fastify";
import { type Control, serveControl } from "./control.ts";

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  /** Asked as a bearer token of everybody who wants more than the health; a function where it can change. */
  readonly token?: string | (() => string | undefined);
  /** What operators can do here; without it this is a door for looking only. */
  readonly control?: Control;
  readonly metrics: { readonly contentType: string; expose(): Promise<string> };
  /** Listens on in another process's place, on the very same socket, and serves who came in between. */
  readonly inherited?: { readonly server: Server; readonly early: readonly Socket[] };
  /** Undefined when sessions can be served, otherwise why not. */
  readonly notReady: () => string | undefined;
}

export interface Admin {
  readonly port: number;
  /** The listening socket itself, for another process to listen on. */
  readonly server: Server;
  /** Takes no new connections; requests that are being answered go on. */
  release(): void;
  close(): Promise<void>;
}

/** The operator's door: /metrics, /healthz, /readyz and /api/v1. Throws when its address cannot be had. */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  // What nobody knows is refused: a filter that was left out of a request would mean everybody.
  const ajv = { customOptions: { removeAdditional: false } as const };
  const server = fastify({ forceCloseConnections: true, ajv });
  server.get("/healthz", async () => ({ status: "ok" }));
  server.get("/readyz", async (_request, reply) => {
    const reason = options.notReady();
    return reason === undefined ? { status: "ready" } : reply.code(503).send({ status: "not ready", reason });
  });
  const { token } = options;
  const allow = bearer(typeof token === "function" ? token : () => token);
  server.get("/metrics", { onRequest: allow }, async (_request, reply) => {
    reply.type(options.metrics.contentType);
    return options.metrics.expose();
  });
  if (options.control) serveControl(server, options.control, allow);
  if (options.inherited) await listenOn(server, options.inherited);
  else await server.listen({ host: options.host, port: options.port });
  return {
    port: portOf(server),
    server: server.server,
    release: () => release(server),
    close: () => close(server),
  };
}

async function listenOn(
  server: FastifyInstance,
  { server: inherited, early }: NonNullable<AdminOptions["inherited"]>,
): Promise<void> {
  await server.ready();
  server.server.listen(inherited);
  await once(server.server, "listening");
  for (const socket of early) server.server.emit("connection", socket);
}

function release(server: FastifyInstance): void {
  server.server.close();
  server.server.closeIdleConnections();
}

async function close(server: FastifyInstance): Promise<void> {
  await server.close();
  // Fastify closes only what it opened itself.
  if (server.server.listening) server.server.close();
  server.server.closeAllConnections();
}

function bearer(token: () => string | undefined): onRequestAsyncHookHandler {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return async (request, reply) => {
    const wanted = token();
    if (wanted === undefined) return;
    if (timingSafeEqual(digest(`Bearer ${wanted}`), digest(request.headers.authorization ?? ""))) return;
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
