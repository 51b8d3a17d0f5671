// biome-ignore-all lint/suspicious/noThenProperty: `then` is a key's name in the contract; nobody awaits a schema
/**
 * The one source of the configuration: its TypeScript types (as they are after loading), its defaults, its
 * checks, the JSON Schema for editors and the reference page. A node's static type is the loaded one, while its
 * JSON Schema describes the file as written; `unit` names the way from the one to the other (see convert.ts).
 */
import Type, { type Static, type TProperties, type TSchema } from "typebox";
import { DURATION_PATTERN, LIMIT_PATTERN, type Limit, SIZE_PATTERN } from "./units.ts";

const PROTOCOLS = ["imap", "submission", "smtp", "pop3", "sieve"] as const;
const CLIENT_TLS = ["starttls", "implicit"] as const;
const BACKEND_TLS = ["none", "starttls", "implicit"] as const;
const MODES = ["enforce", "observe"] as const;
const COUNTED = [
  "connections",
  "logins",
  "authFailures",
  "sessions",
  "messages",
  "recipients",
  "bytesIn",
  "bytesOut",
] as const;
const COUNTED_PER = ["ip", "user", "domain", "listener", "protocol", "backend"] as const;

const NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
const NAME_WORDS =
  "a name of letters, digits, dots, dashes and underscores that begins with a letter or digit";

interface Notes {
  readonly description: string;
  readonly default?: unknown;
  readonly computed?: string;
}

function mapping<Properties extends TProperties, Options extends object>(
  properties: Properties,
  options: Options,
) {
  return Type.Object(properties, { additionalProperties: false, ...options });
}

/** One of a few words. */
function choice<const Words extends readonly string[]>(words: Words, notes: Notes) {
  return Type.Unsafe<Words[number]>({ type: "string", enum: [...words], ...notes });
}

function flag(notes: Notes) {
  return Type.Boolean({ ...notes });
}

function text(notes: Notes, valid = "text without control characters") {
  return Type.String({ minLength: 1, format: "printable", valid, ...notes });
}

/** Written `10s`; loaded as milliseconds. */
function duration(notes: Notes) {
  return Type.Unsafe<number>({
    type: "string",
    format: "duration-some",
    pattern: DURATION_PATTERN,
    unit: "duration",
    valid: "a duration such as 500ms, 10s, 5m, 1h or 1d, more than 0 and at most 24d",
    ...notes,
  });
}

/** Written `50MiB`; loaded as bytes. */
function size(notes: Notes) {
  return Type.Unsafe<number>({
    type: "string",
    pattern: SIZE_PATTERN,
    unit: "size",
    valid: "a size such as 64KiB, 50MiB or 2GiB",
    ...notes,
  });
}

/** A duration that may be zero, which switches the thing off. */
function durationOrOff(notes: Notes) {
  const valid = "a duration such as 500ms, 10s, 5m, 1h or 1d, at most 24d; 0s for off";
  return Type.Unsafe<number>({ ...duration(notes), format: "duration-any", valid });
}

/** Written relative to the configuration file; loaded absolute. */
function path(notes: Notes) {
  return Type.String({ minLength: 1, unit: "path", valid: "a path, relative to this file", ...notes });
}

/** Written as text or as where to find it; loaded as the text. */
function secret(notes: Notes) {
  return Type.Unsafe<string>({
    anyOf: [
      { type: "string", minLength: 1 },
      mapping({ file: Type.String({ minLength: 1 }) }, {}),
      mapping({ env: Type.String({ minLength: 1 }) }, {}),
    ],
    unit: "secret",
    valid: "text, { file: PATH } or { env: NAME }",
    ...notes,
  });
}

/** Written as one or as a list; loaded as a list. */
function oneOrMore<Item extends TSchema>(item: Item, valid: string, notes: Notes) {
  return Type.Unsafe<Static<Item>[]>({
    anyOf: [item, { type: "array", minItems: 1, uniqueItems: true, items: item }],
    unit: "list",
    valid: `${valid}, or a list of them`,
    ...notes,
  });
}

function host(notes: Notes) {
  const valid = "a host name or an IP address, without port or brackets";
  return Type.String({ format: "host", valid, ...notes });
}

function port(minimum: number, notes: Notes) {
  return Type.Integer({ minimum, maximum: 65_535, ...notes });
}

const PROTOCOL = choice(PROTOCOLS, { description: "A mail protocol." });
const TEXT = Type.String({ minLength: 1 });

/** Variants told apart by their key `type`; a further source is one more variant in the list. */
function oneOfType<Variants extends TSchema[]>(variants: [...Variants], notes: Notes) {
  return Type.Unsafe<Static<Variants[number]>>({
    type: "object",
    discriminator: { propertyName: "type" },
    oneOf: variants,
    ...notes,
  });
}

const CertificateSchema = mapping(
  {
    cert: path({ description: "The certificate and its chain, PEM." }),
    key: path({ description: "Its private key, PEM, without a passphrase." }),
  },
  { description: "One certificate with its key." },
);

const TlsSchema = mapping(
  {
    certificates: Type.Array(CertificateSchema, {
      default: [],
      description: "Chosen by SNI from the names inside each; the first is the default.",
    }),
    selfSigned: flag({ default: false, description: "Make a certificate at start, for trying out." }),
  },
  { default: {}, description: "The certificates that clients see." },
);

const ListenerSchema = mapping(
  {
    protocol: choice(PROTOCOLS, { description: "What is spoken here." }),
    port: port(0, { description: "The TCP port; 0 takes a free one." }),
    name: Type.String({
      pattern: NAME_PATTERN,
      valid: NAME_WORDS,
      computed: "PROTOCOL-PORT",
      description: "Names the listener in metrics, logs and limits; unique.",
    }),
    host: Type.Optional(
      host({ description: "The address to bind; without it every address, IPv4 and IPv6." }),
    ),
    tls: choice(CLIENT_TLS, {
      default: "starttls",
      description: "`starttls` begins in clear text and upgrades; `implicit` is TLS from the first byte.",
    }),
    requireTls: flag({
      default: true,
      description: "No password before TLS. `false` lets passwords cross in clear.",
    }),
  },
  { description: "One address that clients connect to." },
);

const FileSourceSchema = mapping(
  {
    type: Type.Literal("file", { description: "A YAML file of users." }),
    path: path({ description: "The file of users." }),
  },
  { description: "Users from a YAML file." },
);

const AuthenticationSchema = mapping(
  {
    mechanisms: Type.Array(choice(["PLAIN", "LOGIN"], { description: "A SASL mechanism." }), {
      minItems: 1,
      uniqueItems: true,
      default: ["PLAIN", "LOGIN"],
      description: "SASL mechanisms that clients are offered.",
    }),
    cache: mapping(
      { ttl: durationOrOff({ default: "60s", description: "How long a right password is remembered." }) },
      { default: {}, description: "Remembers successes of fixed passwords, never failures." },
    ),
    sources: Type.Array(oneOfType([FileSourceSchema], { description: "One source of users." }), {
      minItems: 1,
      description: "Where users come from; asked in order until one knows the user.",
    }),
  },
  { description: "Who may sign in." },
);

/** Written as a port, or with its own TLS; loaded always as both, the backend's `tls` filled in. */
const EndpointSchema = Type.Unsafe<{ port: number; tls: (typeof BACKEND_TLS)[number] }>({
  anyOf: [
    port(1, { description: "The TCP port." }),
    mapping(
      {
        port: port(1, { description: "The TCP port." }),
        tls: Type.Optional(choice(BACKEND_TLS, { description: "Instead of the backend's `tls`." })),
      },
      {},
    ),
  ],
  unit: "endpoint",
  valid: "a port from 1 to 65535, or { port: PORT, tls: none | starttls | implicit }",
  description: "The port of this protocol, or `{ port, tls }` where its TLS differs from the backend's.",
});

const TrustSchema = mapping(
  {
    ca: Type.Optional(path({ description: "The authorities to trust instead of the system's, PEM." })),
    serverName: Type.Optional(host({ description: "The name to ask for and to expect, instead of `host`." })),
    pin: Type.Optional(
      Type.String({
        pattern: "^sha256/[A-Za-z0-9+/]{43}=$",
        valid: "sha256/ and the base64 of 32 bytes",
        description: "SHA-256 of the public key (SPKI) that the backend must have.",
      }),
    ),
    insecure: flag({
      default: false,
      description: "Believe any certificate. Whoever is in between reads the mail.",
    }),
    cert: Type.Optional(path({ description: "Our certificate for mutual TLS, PEM; goes with `key`." })),
    key: Type.Optional(path({ description: "Its private key, PEM; goes with `cert`." })),
  },
  { default: {}, description: "How the backend proves who it is; by default as a web server does." },
);

const MasterSchema = mapping(
  {
    master: mapping(
      {
        user: text({ description: "The master user's name." }),
        password: secret({ description: "The master user's password." }),
        separator: Type.Optional(
          text({ description: "What stands between the user's name and the master's, as in `bob*master`." }),
        ),
      },
      { description: "Sign in with a master user's password, as the client's user." },
    ),
  },
  {},
);

const BackendSchema = mapping(
  {
    host: host({ description: "Where it is." }),
    tls: choice(BACKEND_TLS, {
      default: "starttls",
      description: "How to reach it; each protocol can differ.",
    }),
    protocols: mapping(
      {
        imap: Type.Optional(EndpointSchema),
        pop3: Type.Optional(EndpointSchema),
        submission: Type.Optional(EndpointSchema),
        smtp: Type.Optional(EndpointSchema),
        lmtp: Type.Optional(EndpointSchema),
        sieve: Type.Optional(EndpointSchema),
      },
      { minProperties: 1, description: "What it speaks, and on which ports; at least one." },
    ),
    trust: TrustSchema,
    login: Type.Union([Type.Literal("passthrough"), MasterSchema], {
      default: "passthrough",
      valid: "passthrough, or { master: { user, password, separator } }",
      description: "How Postern signs in there: with the client's own password, or as a master user.",
    }),
    identity: choice(["none"], {
      default: "none",
      description: "How the backend learns the client's address.",
    }),
  },
  { description: "One mail server behind the gateway." },
);

const RouteSchema = mapping(
  {
    match: mapping(
      {
        user: Type.Optional(oneOrMore(TEXT, "a user's name", { description: "One of these users." })),
        domain: Type.Optional(
          oneOrMore(TEXT, "a domain", { description: "A user of one of these domains." }),
        ),
        recipient: Type.Optional(
          oneOrMore(TEXT, "an address", {
            description: "Mail from other servers to one of these addresses. `user` takes it too.",
          }),
        ),
        recipientDomain: Type.Optional(
          oneOrMore(TEXT, "a domain", {
            description: "Mail from other servers to one of these domains. `domain` takes it too.",
          }),
        ),
        protocol: Type.Optional(
          oneOrMore(PROTOCOL, PROTOCOLS.join(", "), { description: "A session of one of these protocols." }),
        ),
      },
      { default: {}, description: "All that is given must fit; nothing given fits everyone." },
    ),
    to: text({ description: "The backend's name." }, "the name of a backend"),
    loginAs: Type.Optional(
      Type.String({
        format: "template",
        valid: "text in which {user}, {local} and {domain} stand for the user's name and its parts",
        description: "The user's name at the backend, made from `{user}`, `{local}` and `{domain}`.",
      }),
    ),
  },
  { description: "One rule." },
);

const LimitSchema = mapping(
  {
    name: Type.String({ pattern: NAME_PATTERN, valid: NAME_WORDS, description: "Names the limit; unique." }),
    count: choice(COUNTED, { description: "What is counted." }),
    per: oneOrMore(choice(COUNTED_PER, { description: "What it is counted by." }), COUNTED_PER.join(", "), {
      description:
        "What it is counted by; a list is one combined key. `connections` know no user, domain or backend yet, `authFailures` no backend. `authFailures` by user or domain without ip spare networks that the user has signed in from lately, and count names that are nobody's by the network only.",
    }),
    limit: Type.Unsafe<Limit>({
      anyOf: [
        { type: "string", format: "limit", pattern: LIMIT_PATTERN },
        { type: "integer", minimum: 1 },
      ],
      unit: "limit",
      valid:
        "a number for how many at once, such as 30, or NUMBER/DURATION, such as 120/1m, or SIZE/DURATION, such as 20GiB/1d, at most 24d",
      description:
        "`30`: how many at once (connections, sessions). `120/1m`: how many in a time (all but sessions and bytes). `20GiB/1d`: bytes in a time.",
    }),
    match: mapping(
      {
        protocol: Type.Optional(
          oneOrMore(PROTOCOL, PROTOCOLS.join(", "), { description: "Only sessions of these protocols." }),
        ),
        listener: Type.Optional(
          oneOrMore(TEXT, "a listener's name", { description: "Only sessions at these listeners." }),
        ),
        network: Type.Optional(
          oneOrMore(
            Type.String({ format: "network", valid: "an IP address or a network such as 10.0.0.0/8" }),
            "an IP address or a network such as 10.0.0.0/8",
            { description: "Only clients in these networks." },
          ),
        ),
        user: Type.Optional(oneOrMore(TEXT, "a user's name", { description: "Only these users." })),
        domain: Type.Optional(oneOrMore(TEXT, "a domain", { description: "Only users of these domains." })),
      },
      { default: {}, description: "Counts only what fits; nothing given fits everything." },
    ),
    mode: Type.Optional(choice(MODES, { description: "This limit's own mode; without it the policy's." })),
    then: Type.Union(
      [
        Type.Literal("refuse"),
        mapping({ delay: duration({ description: "Answer this much later." }) }, {}),
        mapping(
          {
            ban: duration({ description: "Refuse everything for this long." }),
            upTo: Type.Optional(
              duration({
                description:
                  "Each repeat doubles the ban, up to this; one that comes when so much time has passed is the first again.",
              }),
            ),
          },
          {},
        ),
        mapping(
          {
            throttle: size({
              description:
                "Bytes: let so many pass a second. Mail on its way is slowed down by refusing the next message for now.",
            }),
          },
          {},
        ),
      ],
      {
        default: "refuse",
        valid:
          "refuse, { delay: DURATION } or { ban: DURATION }, with upTo: DURATION for bans that grow, or { throttle: SIZE } for bytes",
        description: "What happens beyond the limit.",
      },
    ),
  },
  { description: "One limit." },
);

const PolicySchema = mapping(
  {
    store: choice(["memory"], { default: "memory", description: "Where counters and bans live." }),
    mode: choice(MODES, {
      default: "enforce",
      description: "`observe` counts and logs what would have happened, and refuses nothing.",
    }),
    exempt: Type.Array(
      Type.String({ format: "network", valid: "an IP address or a network such as 10.0.0.0/8" }),
      {
        default: ["127.0.0.0/8", "::1"],
        description: "Addresses and networks that are never limited and never banned.",
      },
    ),
    ipv6Prefix: Type.Integer({
      minimum: 1,
      maximum: 128,
      default: 64,
      description: "One IPv6 client is one network of this prefix length.",
    }),
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
      ],
      description: "The limits; a list here takes the place of the whole default list.",
    }),
  },
  { default: {}, description: "How much is too much." },
);

const SubmissionSchema = mapping(
  {
    senders: mapping(
      {
        enforce: choice(["off", "observe", "enforce"], {
          default: "off",
          description: "`observe` logs what would be refused, `enforce` refuses it.",
        }),
        map: Type.Optional(
          path({
            description:
              "A file of what each login may send as beside its own name: an address, `@DOMAIN`, `*@DOMAIN` or `*`.",
          }),
        ),
      },
      { default: {}, description: "Who may use which MAIL FROM and From." },
    ),
    maxMessageSize: size({
      default: "50MiB",
      description: "A message's bytes; the backend's own limit may be smaller.",
    }),
    maxRecipients: Type.Integer({ minimum: 1, default: 100, description: "Recipients of one message." }),
    bareNewlines: choice(["reject", "normalise"], {
      default: "reject",
      description:
        "What becomes of a CR or LF by itself, which servers understand differently; never passed on.",
    }),
    earlyTalkers: choice(["refuse", "allow"], {
      default: "refuse",
      description:
        "What becomes of a client that speaks before the greeting, or sends on before EHLO is answered: mail servers and programs do neither.",
    }),
    greetDelay: durationOrOff({
      default: "20ms",
      description:
        "How long another mail server is listened to before it is greeted: what its kind sends too early comes with the connection.",
    }),
  },
  { default: {}, description: "Mail on its way, by submission and SMTP." },
);

const TimeoutsSchema = mapping(
  {
    handshake: duration({ default: "10s", description: "A client's TLS handshake." }),
    login: duration({ default: "60s", description: "From connecting to being signed in, all of it." }),
    connect: duration({ default: "5s", description: "Reaching a backend, TLS included." }),
    drain: duration({
      default: "5m",
      description: "How long open sessions may go on when the gateway stops.",
    }),
    imapIdle: duration({
      default: "30m",
      description: "An IMAP or ManageSieve session in which no byte moves.",
    }),
    pop3Idle: duration({
      default: "10m",
      description: "A POP3 session in which no byte moves; RFC 1939 asks for 10m at least.",
    }),
    smtpIdle: duration({ default: "5m", description: "An SMTP session that waits for its client." }),
  },
  { default: {}, description: "How long things may take." },
);

const AdminSchema = mapping(
  {
    host: host({ default: "127.0.0.1", description: "The address to bind." }),
    port: port(0, { default: 8025, description: "The TCP port; 0 takes a free one." }),
    token: Type.Optional(
      secret({ description: "Asked of every caller; needed where `host` is not loopback." }),
    ),
  },
  { default: {}, description: "Metrics, health and the API." },
);

const LoggingSchema = mapping(
  {
    level: choice(["trace", "debug", "info", "warn", "error"], {
      default: "info",
      description: "The least that is logged.",
    }),
    format: choice(["json", "pretty"], { default: "json", description: "For machines or for eyes." }),
  },
  { default: {}, description: "The log." },
);

export const ConfigSchema = mapping(
  {
    hostname: host({ computed: "this machine's name", description: "The name in greetings." }),
    workers: Type.Unsafe<"auto" | number>({
      anyOf: [{ const: "auto" }, { type: "integer", minimum: 0 }],
      default: "auto",
      valid: "auto, or a whole number, 0 or more",
      description:
        "Processes that carry sessions. This version runs all sessions in one process, whatever stands here.",
    }),
    dataDir: path({ default: "./data", description: "Where Postern keeps what must outlive it." }),
    tls: TlsSchema,
    listeners: Type.Array(ListenerSchema, {
      minItems: 1,
      description: "Where clients connect; at least one.",
    }),
    authentication: AuthenticationSchema,
    backends: Type.Record(Type.String({ pattern: NAME_PATTERN }), BackendSchema, {
      additionalProperties: false,
      minProperties: 1,
      valid: "a mapping from names to backends",
      description: "The mail servers, by name; at least one.",
    }),
    routes: Type.Array(RouteSchema, {
      default: [],
      description:
        "Who goes where: the first match wins. A backend that the source of users names comes before them.",
    }),
    policy: PolicySchema,
    submission: SubmissionSchema,
    timeouts: TimeoutsSchema,
    admin: AdminSchema,
    logging: LoggingSchema,
  },
  { title: "Postern configuration", description: "The configuration of Postern, a mail gateway." },
);

type DeepReadonly<Value> = Value extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: DeepReadonly<Value[Key]> }
    : Value;

/** The configuration after loading: defaults filled in, durations in ms, secrets fetched, paths absolute, frozen. */
export type Config = DeepReadonly<Static<typeof ConfigSchema>>;
export type ListenerConfig = Config["listeners"][number];
export type AuthenticationConfig = Config["authentication"];
export type SourceConfig = AuthenticationConfig["sources"][number];
export type BackendConfig = Config["backends"][string];
export type PolicyConfig = Config["policy"];
export type LimitConfig = PolicyConfig["limits"][number];
