import Type, { type Static } from "typebox";
import {
  duration,
  flag,
  host,
  mapping,
  NAME_PATTERN,
  NAME_WORDS,
  path,
  secret,
  text,
} from "./schema-words.ts";

const PLACE = Type.String({ format: "place", valid: "HOST:PORT, an IPv6 address in brackets" });

const RedisSchema = mapping(
  {
    url: Type.Optional(
      secret({
        description:
          "One server: `redis://HOST:PORT/DB`, or `rediss://` for TLS; a secret, for it may hold a password.",
      }),
    ),
    sentinels: Type.Optional(
      Type.Array(PLACE, {
        minItems: 1,
        description: "Sentinels, as HOST:PORT, which know the master `name`.",
      }),
    ),
    name: Type.Optional(text({ description: "The master's name at the Sentinels." })),
    nodes: Type.Optional(
      Type.Array(PLACE, {
        minItems: 1,
        description:
          "Nodes of a Cluster, as HOST:PORT; the others are learnt from them. All keys are in one slot, so that one script sees them: a Cluster brings fail-over and no more speed.",
      }),
    ),
    username: Type.Optional(text({ description: "The ACL user." })),
    password: Type.Optional(secret({ description: "Its password; instead of one in `url`." })),
    sentinelPassword: Type.Optional(secret({ description: "The Sentinels' own password." })),
    db: Type.Optional(Type.Integer({ minimum: 0, description: "The database; not in a Cluster." })),
    tls: Type.Optional(
      mapping(
        {
          ca: Type.Optional(path({ description: "The authorities to trust instead of the system's, PEM." })),
          cert: Type.Optional(path({ description: "Our certificate, PEM, where the server asks for one." })),
          key: Type.Optional(path({ description: "Its private key, PEM." })),
          serverName: Type.Optional(
            host({ description: "The name in its certificate, where it is not the host." }),
          ),
          insecure: Type.Optional(flag({ description: "Believe any certificate." })),
        },
        {
          description:
            "TLS to it; `{}` with the system's authorities. `rediss://` needs it for more than those only.",
        },
      ),
    ),
    prefix: Type.Optional(
      Type.String({
        pattern: NAME_PATTERN,
        valid: NAME_WORDS,
        description:
          "Before every key; `postern` without it. Gateways that share one Redis and no limits differ here.",
      }),
    ),
    timeout: Type.Optional(
      Type.Unsafe<number>({
        ...duration({ description: "How long one answer may take, at most 10s; `100ms` without it." }),
        format: "duration-short",
        valid: "a duration such as 100ms, more than 0 and at most 10s",
      }),
    ),
  },
  { description: "A Redis or Valkey: `url`, or `sentinels` with `name`, or `nodes`." },
);

type StoreConfig = "memory" | { readonly redis: Static<typeof RedisSchema> };

export const StoreSchema = Type.Unsafe<StoreConfig>({
  anyOf: [{ const: "memory" }, { type: "string", format: "redis-url" }, mapping({ redis: RedisSchema }, {})],
  unit: "store",
  default: "memory",
  valid: "memory, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or { redis: { … } }",
  description:
    "Where counters and bans live: in this Postern, or in a Redis or Valkey that several share. `{ redis: { … } }` says more than a URL can.",
});
