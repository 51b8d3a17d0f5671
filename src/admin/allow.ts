import type { FastifyReply, FastifyRequest } from "fastify";

/** Says who may ask. */
export type Allow = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

/** A page that an operator looks at must not act in his name: browsers name the page's origin, programs name none. */
export async function refuseBrowsers(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (request.headers.origin === undefined) return;
  await reply.code(403).send({ error: "not from a page in a browser" });
}
