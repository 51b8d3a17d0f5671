/**
 * The one source of the configuration: its TypeScript types (as they are after loading), its defaults, its
 * checks, the JSON Schema for editors and the reference page. A node's static type is the loaded one, while its
 * JSON Schema describes the file as written; `unit` names the way from the one to the other (see convert.ts).
 */
import Type, { type Static } from "typebox";
import { PolicySchema } from "./policy-schema.ts";
import {
  choice,
  command,
  duration,
  durationOrOff,
  flag,
  host,
  mapping,
  NAME_PATTERN,
  NAME_WORDS,
  NETWORK,
  type Notes,
  oneOfType,
  oneOrMore,
  PROTOCOL,
  PROTOCOLS,
  path,
  period,
  port,
  secret,
  size,
  TEXT,
  text,
} from "./schema-words.ts";

const CLIENT_TLS = ["starttls", "implicit"] as const;
const BACKEND_TLS = ["none", "starttls", "implicit"] as const;
const IDENTITIES = ["auto", "none", "proxy-v1", "proxy-v2", "xclient", "id"] as const;

const CertificateSchema = mapping(
  {
    cert: Type.Optional(path({ description: "The certificate and its chain, PEM; goes with `key`." })),
    key: Type.Optional(path({ description: "Its private key, PEM; goes with `cert`." })),
    pkcs12: Type.Optional(
      path({ description: "A PKCS#12 file (.p12, .pfx) with certificate, chain and key, instead of them." }),
    ),
    passphrase: Type.Optional(secret({ description: "What opens the key or the PKCS#12 file." })),
  },
  { description: "One certificate with its key: `cert` and `key`, or `pkcs12`." },
);

/** RFC 8555 8.3: where the authority knocks for http-01. */
export const HTTP_CHALLENGE_PORT = 80;

const AcmeSchema = mapping(
  {
    directory: Type.String({
      format: "https-url",
      valid: "the https:// address of an ACME directory",
      description:
        "The authority's ACME directory. To give it, with `email`, is to agree to the authority's terms of service.",
    }),
    email: Type.String({
      format: "mail-address",
      valid: "a mail address",
      description: "Where the authority may write to.",
    }),
    domains: Type.Array(
      Type.String({
        format: "certificate-name",
        valid: "a host name in lower case such as mail.example.org, or *.example.org",
      }),
      {
        minItems: 1,
        maxItems: 100,
        uniqueItems: true,
        description: "The names of the one certificate. Wildcards need `dns-01`.",
      },
    ),
    challenge: choice(["http-01", "tls-alpn-01", "dns-01"], {
      default: "http-01",
      description:
        "How the authority sees that the names are ours. `http-01`: it connects to port 80. `tls-alpn-01`: it connects to port 443, which must lead to a listener with implicit TLS. `dns-01`: it looks for a TXT record, which `dnsHook` writes.",
    }),
    httpHost: Type.Optional(
      host({
        description:
          "The address of the listener for `http-01`; without it every address. It is open as long as Postern runs and answers nothing but challenges.",
      }),
    ),
    httpPort: Type.Optional(
      port(1, {
        computed: `\`${HTTP_CHALLENGE_PORT}\` with http-01`,
        description: "Its port. Another one helps only where port 80 leads to it.",
      }),
    ),
    dnsHook: Type.Optional(
      command({
        description:
          "Run as `PROGRAM … present|cleanup DOMAIN RECORD VALUE`, without a shell; `present` ends with 0 when the TXT record can be seen, within 5 minutes.",
      }),
    ),
    ca: Type.Optional(
      path({
        description: "For a private ACME server: the authorities to trust instead of the system's, PEM.",
      }),
    ),
    eab: Type.Optional(
      mapping(
        {
          kid: text({ description: "The key's identifier." }),
          hmacKey: secret({ description: "The key, in base64url as authorities give it." }),
        },
        { description: "External account binding, where the authority asks for it." },
      ),
    ),
    keyType: choice(["ecdsa", "rsa"], {
      default: "ecdsa",
      description: "The certificate's key: ECDSA P-256, or RSA with 2048 bits for very old clients.",
    }),
    renewBefore: period({
      default: "30d",
      description: "How long before its end the certificate is renewed; at most a third of its life.",
    }),
  },
  { description: "A certificate by ACME (RFC 8555), renewed in time and kept below `dataDir`." },
);

const TlsSchema = mapping(
  {
    certificates: Type.Array(CertificateSchema, {
      default: [],
      description:
        "Chosen by SNI from the names inside each; the first is the default. Watched, and swapped live.",
    }),
    acme: Type.Optional(AcmeSchema),
    selfSigned: flag({ default: false, description: "Make a certificate at start, for trying out." }),
    profile: choice(["modern", "intermediate", "legacy"], {
      default: "intermediate",
      description:
        "Mozilla's server-side TLS: `modern` is TLS 1.3 only, `intermediate` 1.2 too, `legacy` 1.0 and 1.1 and old ciphers too.",
    }),
    clientCa: Type.Optional(
      path({
        description:
          "Authorities, PEM, whose certificates clients may show; gives SASL EXTERNAL. Watched, and swapped live.",
      }),
    ),
    clientCrl: Type.Optional(
      path({
        description:
          "Revocation lists, PEM: one of each authority in `clientCa`, or none of its certificates is believed. Watched.",
      }),
    ),
    clientName: choice(["email", "dns", "commonName"], {
      default: "email",
      description: "Which of a client certificate's names is the user's.",
    }),
  },
  { default: {}, description: "The certificates that clients see, and those that they may show." },
);

/** Networks whose word about a client's address is believed. */
function trustedProxies(notes: Notes) {
  return Type.Optional(
    mapping(
      {
        from: Type.Array(NETWORK, {
          minItems: 1,
          description: "The proxies' addresses and networks.",
        }),
        insecureFromAnywhere: flag({
          default: false,
          description: "Lets `from` hold the whole Internet: then anybody can be anybody.",
        }),
      },
      notes,
    ),
  );
}

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
    proxyProtocol: trustedProxies({
      description:
        "Connections from these networks begin with a PROXY header, version 1 or 2; others may not send one.",
    }),
    xclient: trustedProxies({
      description:
        "SMTP and submission: hosts in these networks may name their client by XCLIENT; others may not.",
    }),
    clientCertificate: Type.Optional(
      choice(["none", "optional", "required"], {
        description:
          "Whether clients are asked for a certificate; `optional` where `tls.clientCa` is set, else `none`. `required` ends TLS without a good one.",
      }),
    ),
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
    mechanisms: Type.Array(choice(["PLAIN", "LOGIN", "EXTERNAL"], { description: "A SASL mechanism." }), {
      minItems: 1,
      uniqueItems: true,
      default: ["PLAIN", "LOGIN", "EXTERNAL"],
      description:
        "SASL mechanisms that clients are offered; EXTERNAL only to those who showed a good certificate.",
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

interface EndpointConfig {
  port: number;
  tls: (typeof BACKEND_TLS)[number];
  identity: (typeof IDENTITIES)[number];
}

/** Written as a port, or with what is its own; loaded always whole, the backend's `tls` and `identity` filled in. */
const EndpointSchema = Type.Unsafe<EndpointConfig>({
  anyOf: [
    port(1, { description: "The TCP port." }),
    mapping(
      {
        port: port(1, { description: "The TCP port." }),
        tls: Type.Optional(choice(BACKEND_TLS, { description: "Instead of the backend's `tls`." })),
        identity: Type.Optional(choice(IDENTITIES, { description: "Instead of the backend's `identity`." })),
      },
      {},
    ),
  ],
  unit: "endpoint",
  valid: "a port from 1 to 65535, or { port, tls, identity }",
  description: "The port of this protocol, or `{ port, tls, identity }` where it differs from the backend's.",
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
    login: Type.Union([Type.Literal("passthrough"), MasterSchema, Type.Literal("none")], {
      default: "passthrough",
      valid: "passthrough, { master: { user, password, separator } } or none",
      description:
        "How Postern signs in there: with the client's own password, as a master user, or not at all: a relay that " +
        "trusts Postern takes its word (submission only; by XCLIENT it hears who signed in).",
    }),
    identity: choice(IDENTITIES, {
      default: "auto",
      description:
        "How the backend learns the client's address. `auto`: by XCLIENT or IMAP ID where the backend offers them, by " +
        "a PROXY header where it says nothing without one; else not at all. The others are used as told, and where the " +
        "backend does not take them a session is refused rather than carried on without. A backend that lists Postern " +
        "(`login_trusted_networks`, `haproxy_trusted_networks`, `smtpd_authorized_xclient_hosts`) believes every word " +
        "that comes from its address, and Dovecot takes it for secure even in clear text: let nobody else connect " +
        "from there, and with `none` do not list it.",
    }),
    helo: choice(["own", "client"], {
      default: "own",
      description:
        "The name in EHLO: this gateway's, or the client's, for a backend that can be told in no other way. Behind " +
        "XCLIENT it is always the client's.",
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
    handshake: duration({
      default: "10s",
      description: "A client's TLS handshake; a proxy's header, which has 3s at least.",
    }),
    login: duration({ default: "60s", description: "From connecting to being signed in, all of it." }),
    connect: duration({ default: "5s", description: "Reaching a backend, TLS included." }),
    drain: duration({
      default: "5m",
      description:
        "How long open sessions may go on when the gateway stops. At an upgrade they are left alone for as long before.",
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
        "Processes that carry sessions; `auto` is one a core, 0 is one process for everything. Needs a restart.",
    }),
    user: Type.Optional(
      text({
        description:
          "Whom to become once the ports are bound, when started as root. All files but those of secrets must be readable for this user.",
      }),
    ),
    group: Type.Optional(
      text({ description: "The group that goes with `user`, instead of that user's own." }),
    ),
    dataDir: path({ default: "./data", description: "Where Postern keeps what must outlive it." }),
    clusterSecret: Type.Optional(
      secret({
        description:
          "The same in every Postern that shares a Redis, at least 32 characters, for example from `openssl rand -base64 32`. With it they share the secret behind TLS tickets, certificates by ACME and answers for `http-01`, shut in with it.",
      }),
    ),
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
export type AcmeConfig = NonNullable<Config["tls"]["acme"]>;
export type BackendConfig = Config["backends"][string];
export type PolicyConfig = Config["policy"];
export type HookConfig = PolicyConfig["hooks"][number];
export type ServeConfig = NonNullable<PolicyConfig["serve"]>;
export type LimitConfig = PolicyConfig["limits"][number];
