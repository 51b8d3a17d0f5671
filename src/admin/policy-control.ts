import type { FastifyInstance, FastifyReply } from "fastify";
import { type Allow, refuseBrowsers } from "./allow.ts";

/** The parts that a limit's key can have. */
export interface Whom {
  readonly ip?: string;
  readonly user?: string;
  readonly domain?: string;
  readonly listener?: string;
  readonly protocol?: string;
  readonly backend?: string;
  readonly country?: string;
  readonly asn?: string;
}

/** What was found or done, or what is wrong with the question. */
export type PolicyAnswer =
  | { readonly ok: true; readonly body: object }
  | { readonly ok: false; readonly problems: readonly string[] };

/** What an operator sees of limits and bans, and does to them. */
export interface PolicyControl {
  explain(whom: Whom): Promise<PolicyAnswer>;
  /** Those that end first come first. */
  bans(limit: number): Promise<PolicyAnswer>;
  /** Who does most of what in this gateway, lately. */
  top(by: TopBy, count: TopCount, limit: number): Promise<PolicyAnswer>;
  /** `time`: as durations in the configuration. */
  ban(whom: Whom, time: string): Promise<PolicyAnswer>;
  unban(whom: Whom): Promise<PolicyAnswer>;
  /** All bans by one limit, or by the operator; `whom` must say nothing more. */
  unbanAll(by: string, whom: Whom): Promise<PolicyAnswer>;
}

const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 100_000;
const TOP_LIMIT = 20;
const MAX_TOP = 1_000;
const TOP_BY = ["user", "network"] as const;
const TOP_COUNTS = [
  "connections",
  "logins",
  "authFailures",
  "sessions",
  "messages",
  "recipients",
  "refusedRecipients",
  "bytesIn",
  "bytesOut",
  "refused",
] as const;
export type TopBy = (typeof TOP_BY)[number];
export type TopCount = (typeof TOP_COUNTS)[number];
const PROTOCOLS = ["imap", "pop3", "sieve", "smtp", "submission"];

const text = { type: "string", minLength: 1, maxLength: 512 };
const protocol = { enum: PROTOCOLS };
const whom = {
  ip: text,
  user: text,
  domain: text,
  listener: text,
  protocol,
  backend: text,
  country: text,
  asn: text,
};
const exactly = { type: "object", additionalProperties: false };
const explained = {
  ...exactly,
  properties: { ip: text, user: text, listener: text, protocol },
};
const listed = {
  ...exactly,
  properties: { limit: { type: "integer", minimum: 1, maximum: MAX_LIMIT } },
};
const topped = {
  ...exactly,
  properties: {
    by: { enum: TOP_BY },
    count: { enum: TOP_COUNTS },
    limit: { type: "integer", minimum: 1, maximum: MAX_TOP },
  },
};
const banned = { ...exactly, required: ["for"], properties: { ...whom, for: text } };
const unbanned = { ...exactly, properties: { ...whom, by: text } };

interface TopQuery {
  readonly by?: TopBy;
  readonly count?: TopCount;
  readonly limit?: number;
}

/** `control` is undefined until there is something to see. */
export function servePolicy(
  server: FastifyInstance,
  control: () => PolicyControl | undefined,
  allow: Allow,
): void {
  const answer = async (
    reply: FastifyReply,
    ask: (policy: PolicyControl) => Promise<PolicyAnswer>,
  ): Promise<FastifyReply> => {
    const policy = control();
    if (!policy) return reply.code(503).send({ error: "the gateway is still starting" });
    const answered = await ask(policy);
    if (answered.ok) return reply.send(answered.body);
    return reply.code(400).send({ error: "nothing was done", problems: answered.problems });
  };
  const onRequest = [allow, refuseBrowsers];
  server.get("/api/v1/explain", { onRequest: allow, schema: { querystring: explained } }, (request, reply) =>
    answer(reply, (policy) => policy.explain({ ...(request.query as Whom) })),
  );
  server.get("/api/v1/bans", { onRequest: allow, schema: { querystring: listed } }, (request, reply) =>
    answer(reply, (policy) => policy.bans((request.query as { limit?: number }).limit ?? DEFAULT_LIMIT)),
  );
  server.get("/api/v1/top", { onRequest: allow, schema: { querystring: topped } }, (request, reply) => {
    const { by = "network", count = "authFailures", limit = TOP_LIMIT } = request.query as TopQuery;
    return answer(reply, (policy) => policy.top(by, count, limit));
  });
  server.post("/api/v1/bans", { onRequest, schema: { body: banned } }, (request, reply) => {
    const { for: time, ...meant } = request.body as Whom & { readonly for: string };
    return answer(reply, (policy) => policy.ban(meant, time));
  });
  server.delete("/api/v1/bans", { onRequest, schema: { querystring: unbanned } }, (request, reply) =>
    answer(reply, (policy) => {
      const { by, ...meant } = request.query as Whom & { readonly by?: string };
      return by === undefined ? policy.unban(meant) : policy.unbanAll(by, meant);
    }),
  );
}
