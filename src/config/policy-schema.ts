// biome-ignore-all lint/suspicious/noThenProperty: `then` is a key's name in the contract; nobody awaits a schema
import Type from "typebox";
import { AuthPolicyHookSchema, PostfixPolicyHookSchema } from "./hook-schema.ts";
import { LimitSchema } from "./limit-schema.ts";
import {
  choice,
  duration,
  flag,
  host,
  MODES,
  mapping,
  NAME_PATTERN,
  NAME_WORDS,
  NETWORK,
  oneOfType,
  path,
  port,
  secret,
  text,
} from "./schema-words.ts";
import { StoreSchema } from "./store-schema.ts";

const EVENT_KINDS = ["ban", "unban", "limit", "suspected"] as const;

const EventsSchema = mapping(
  {
    webhook: Type.Optional(
      mapping(
        {
          url: secret({
            description:
              "Where events are posted as JSON, by https://; a secret, for it may hold a token. http:// is for loopback.",
          }),
          secret: secret({
            description: "Signs them, so that nobody else can tell of bans; at least 16 characters.",
          }),
          ca: Type.Optional(path({ description: "The authorities to trust instead of the system's, PEM." })),
          timeout: Type.Unsafe<number>({
            ...duration({ default: "5s", description: "How long one request may take, at most 10s." }),
            format: "duration-short",
            valid: "a duration such as 5s, more than 0 and at most 10s",
          }),
          kinds: Type.Array(choice(EVENT_KINDS, { description: "A kind of event." }), {
            minItems: 1,
            uniqueItems: true,
            default: [...EVENT_KINDS],
            description: "Which events it gets.",
          }),
          insecure: flag({
            default: false,
            description: "Lets names and addresses cross the network in clear text, by http://.",
          }),
        },
        { description: "A server that is told: signed, tried again, and never waited for." },
      ),
    ),
    file: Type.Optional(
      path({
        description:
          "A file that gets one line for each event, for fail2ban and the like; it may be rotated at any time.",
      }),
    ),
    nftables: Type.Optional(
      path({
        description:
          "A file that always holds all banned addresses as sets, for `nft -f`: written anew within a second of a change.",
      }),
    ),
  },
  { default: {}, description: "Who else is told of bans, limits that are reached and suspected accounts." },
);

const ServeSchema = mapping(
  {
    host: host({ default: "127.0.0.1", description: "The address to bind, with `port`." }),
    port: Type.Optional(port(0, { description: "The TCP port; 0 takes a free one." })),
    networks: Type.Optional(
      Type.Array(NETWORK, {
        minItems: 1,
        description:
          "Who may ask, with `port`: the answers tell who is banned, and asking counts. Without it only this machine; needed where `host` is not loopback.",
      }),
    ),
    socket: Type.Optional(
      path({
        description:
          "A unix socket instead of `host` and `port`. Postfix's smtpd may be chrooted: a path below its queue directory.",
      }),
    ),
    mode: Type.String({
      pattern: "^0?[0-7]{3}$",
      valid: 'permissions in quotes such as "0660"',
      default: "0660",
      description: "The socket's permissions; who may write to it may ask.",
    }),
    group: Type.Optional(text({ description: "The socket's group, such as `postfix`." })),
    name: Type.String({
      pattern: NAME_PATTERN,
      valid: NAME_WORDS,
      default: "postfix",
      description: "Stands as the listener of these questions in limits and in the log.",
    }),
  },
  {
    description:
      "Answers Postfix's `check_policy_service` by the same counters and bans, where mail passes a Postfix without passing Postern.",
  },
);

export const PolicySchema = mapping(
  {
    store: StoreSchema,
    onStoreFailure: choice(["local", "allow", "refuse"], {
      default: "local",
      description:
        "How to decide while Redis does not answer within its time. `local`: by counters of this Postern alone, with half the points of each limit; they are forgotten when Redis is back. `allow`: everything passes but what a limit of 0 forbids. `refuse`: everything waits, with a temporary answer.",
    }),
    mode: choice(MODES, {
      default: "enforce",
      description:
        "`observe` counts and logs what would have happened, and refuses nothing; bans that stand hold until they end or are lifted.",
    }),
    exempt: Type.Array(NETWORK, {
      default: ["127.0.0.0/8", "::1"],
      description:
        "Addresses and networks that are never limited and never banned. Loopback is what our own socket says, never what a proxy does.",
    }),
    ipv6Prefix: Type.Integer({
      minimum: 1,
      maximum: 128,
      default: 64,
      description: "One IPv6 client is one network of this prefix length.",
    }),
    geo: mapping(
      {
        country: Type.Optional(
          path({
            description: "Countries: GeoLite2-Country, GeoLite2-City, DB-IP's country lite and the like.",
          }),
        ),
        asn: Type.Optional(path({ description: "AS numbers: GeoLite2-ASN, DB-IP's ASN lite and the like." })),
      },
      {
        default: {},
        description:
          "Files in MaxMind's format (.mmdb) that say where addresses are. They are followed: a new one is in use within seconds, and a broken one leaves the old one in use. Each process that carries sessions holds them in memory, as large as they are, and twice that for a moment while one is replaced.",
      },
    ),
    limits: Type.Array(LimitSchema, {
      default: [
        { name: "connects", count: "connections", per: "ip", limit: "300/1m" },
        {
          name: "guesses",
          count: "authFailures",
          per: "ip",
          limit: "20/10m",
          then: { ban: "15m", upTo: "1d" },
        },
        { name: "owner", count: "authFailures", per: ["user", "ip"], limit: "5/10m", then: { delay: "5s" } },
        { name: "attacked", count: "authFailures", per: "user", limit: "50/1h" },
        { name: "open", count: "sessions", per: "user", limit: 50 },
        { name: "messages", count: "messages", per: "user", limit: "200/1h" },
        { name: "recipients", count: "recipients", per: "user", limit: "1000/1h" },
        { name: "hijacked", count: "refusedRecipients", per: "user", limit: "50/1h", then: "alert" },
        { name: "roaming", count: "networks", per: "user", limit: "10/1h", then: "alert" },
      ],
      description: "The limits; a list here takes the place of the whole default list.",
    }),
    hooks: Type.Array(
      oneOfType([AuthPolicyHookSchema, PostfixPolicyHookSchema], { description: "One hook." }),
      {
        default: [],
        description:
          "Others who have a say, asked in this order behind the limits: not about who is refused already, nor about who is exempt.",
      },
    ),
    events: EventsSchema,
    serve: Type.Optional(ServeSchema),
  },
  { default: {}, description: "How much is too much." },
);
