// biome-ignore-all lint/suspicious/noThenProperty: `then` is a key's name in the contract; nobody awaits a schema
import Type from "typebox";
import {
  choice,
  duration,
  MODES,
  mapping,
  NAME_PATTERN,
  NAME_WORDS,
  oneOrMore,
  PROTOCOL,
  PROTOCOLS,
  size,
  TEXT,
} from "./schema-words.ts";
import { LIMIT_PATTERN, type Limit } from "./units.ts";

const COUNTED = [
  "connections",
  "logins",
  "authFailures",
  "sessions",
  "messages",
  "recipients",
  "refusedRecipients",
  "networks",
  "bytesIn",
  "bytesOut",
] as const;
const COUNTED_PER = ["ip", "user", "domain", "listener", "protocol", "backend", "country", "asn"] as const;

const COUNTRY_WORDS = "a country's two letters such as DE, or unknown";
const COUNTRY = Type.String({ format: "country", valid: COUNTRY_WORDS });
const ASN_WORDS = "an AS number such as AS64500, or unknown";
const ASN = Type.Unsafe<string | number>({
  anyOf: [
    { type: "string", format: "asn" },
    { type: "integer", minimum: 1, maximum: 2 ** 32 - 1 },
  ],
  valid: ASN_WORDS,
});

export const LimitSchema = mapping(
  {
    name: Type.String({ pattern: NAME_PATTERN, valid: NAME_WORDS, description: "Names the limit; unique." }),
    count: choice(COUNTED, {
      description:
        "What is counted. `refusedRecipients`: those that a backend, no route or a limit refused, which a hijacked account and a guesser of addresses make many of; a backend's 421, 451 and 452 are none. `networks`: from how many different ones a user signs in.",
    }),
    per: oneOrMore(choice(COUNTED_PER, { description: "What it is counted by." }), COUNTED_PER.join(", "), {
      description:
        "What it is counted by; a list is one combined key. `connections` know no user, domain or backend yet, `authFailures` no backend. `authFailures` by user or domain without ip spare networks that the user has signed in from lately, and count names that are nobody's by the network only. `country` and `asn` need the file in `policy.geo`; where it does not know an address they are `unknown`, which is counted like any other.",
    }),
    limit: Type.Unsafe<Limit>({
      anyOf: [
        { type: "string", format: "limit", pattern: LIMIT_PATTERN },
        { type: "integer", minimum: 0 },
      ],
      unit: "limit",
      valid:
        "a number for how many at once, such as 30, or NUMBER/DURATION, such as 120/1m, or SIZE/DURATION, such as 20GiB/1d, at most 24d",
      description:
        "`30`: how many at once (connections, sessions). `120/1m`: how many in a time (all but sessions and bytes). `20GiB/1d`: bytes in a time. `0`: none at all, and the client hears that it is not allowed instead of to try again.",
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
        country: Type.Optional(
          oneOrMore(COUNTRY, COUNTRY_WORDS, {
            description:
              "Only clients in these countries, by `policy.geo.country`. An address that the file does not know, such as a private one, is in none; `unknown` stands for all of those.",
          }),
        ),
        notCountry: Type.Optional(
          oneOrMore(COUNTRY, COUNTRY_WORDS, {
            description:
              "Only clients outside these countries. An address that the file does not know is outside, too, unless `unknown` is in the list.",
          }),
        ),
        asn: Type.Optional(
          oneOrMore(ASN, ASN_WORDS, {
            description: "Only clients in these autonomous systems, by `policy.geo.asn`; `unknown` as above.",
          }),
        ),
        notAsn: Type.Optional(
          oneOrMore(ASN, ASN_WORDS, {
            description: "Only clients outside these autonomous systems; `unknown` as above.",
          }),
        ),
      },
      { default: {}, description: "Counts only what fits; nothing given fits everything." },
    ),
    mode: Type.Optional(choice(MODES, { description: "This limit's own mode; without it the policy's." })),
    then: Type.Union(
      [
        Type.Literal("refuse"),
        Type.Literal("alert"),
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
          "refuse, alert, { delay: DURATION } or { ban: DURATION }, with upTo: DURATION for bans that grow, or { throttle: SIZE } for bytes",
        description:
          "What happens beyond the limit. `alert` refuses nothing: it is said in the log and as the event `suspected`.",
      },
    ),
  },
  { description: "One limit." },
);
