import type { FastifyInstance, FastifyReply } from "fastify";
import { type Allow, refuseBrowsers } from "./allow.ts";
import { type PolicyControl, servePolicy } from "./policy-control.ts";

/** Which sessions are meant: all that is given must fit. */
export interface Filter {
  readonly id?: string;
  readonly user?: string;
  readonly ip?: string;
  readonly backend?: string;
  readonly listener?: string;
}

/** What came of something that was asked for: what it did, or why it was not done. */
export type Outcome =
  | { readonly ok: true; readonly done: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] };

/** What an operator can do to a running gateway. */
export interface Control {
  sessions(
    filter: Filter,
    limit: number,
  ): Promise<{ readonly total: number; readonly rows: readonly object[] }>;
  kick(filter: Filter): Promise<number>;
  reload(): Promise<Outcome>;
  upgrade(): Promise<Outcome>;
  /** Undefined until there is something to see. */
  policy(): PolicyControl | undefined;
}

const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 100_000;
const MAX_TEXT = 512;

const text = { type: "string", minLength: 1, maxLength: MAX_TEXT };
const filter = { id: text, user: text, ip: text, backend: text, listener: text };
const listed = {
  type: "object",
  additionalProperties: false,
  properties: { ...filter, limit: { type: "integer", minimum: 1, maximum: MAX_LIMIT } },
};
// At least one: nobody means everybody.
const kicked = { type: "object", additionalProperties: false, minProperties: 1, properties: filter };

/** The operator's API. `allow` says who may ask. */
export function serveControl(server: FastifyInstance, control: Control, allow: Allow): void {
  server.get("/api/v1/sessions", { onRequest: allow, schema: { querystring: listed } }, async (request) => {
    const { limit = DEFAULT_LIMIT, ...meant } = request.query as Filter & { readonly limit?: number };
    const { total, rows } = await control.sessions(meant, limit);
    return { total, sessions: rows };
  });
  const onRequest = [allow, refuseBrowsers];
  server.post("/api/v1/sessions/kick", { onRequest, schema: { body: kicked } }, async (request) => ({
    kicked: await control.kick(request.body as Filter),
  }));
  server.post("/api/v1/reload", { onRequest }, async (_request, reply) => say(reply, await control.reload()));
  server.post("/api/v1/upgrade", { onRequest }, async (_request, reply) =>
    say(reply, await control.upgrade()),
  );
  servePolicy(server, () => control.policy(), allow);
}

function say(reply: FastifyReply, outcome: Outcome): FastifyReply {
  return outcome.ok
    ? reply.send({ done: outcome.done })
    : reply.code(422).send({ error: "nothing was changed", problems: outcome.problems });
}
