import Type from "typebox";
import { LimitSchema } from "./limit-schema.ts";
import {
  choice,
  duration,
  flag,
  MODES,
  mapping,
  NAME_PATTERN,
  NAME_WORDS,
  type Notes,
  path,
  secret,
  text,
} from "./schema-words.ts";

const HOOK_NAME = Type.String({
  pattern: NAME_PATTERN,
  valid: NAME_WORDS,
  description: "Names the hook in metrics and in the log; unique.",
});
const HOOK_MATCH = {
  ...LimitSchema.properties.match,
  description: "Asked only about what fits; nothing given fits everything.",
};
const HOOK_MODE = Type.Optional(
  choice(MODES, { description: "`observe`: its no is logged and not heeded. Without it the policy's." }),
);

/** How long one answer may take: clients wait for it. */
function patience(notes: Notes) {
  const valid = "a duration such as 500ms or 2s, more than 0 and at most 10s";
  return Type.Unsafe<number>({ ...duration(notes), format: "duration-short", valid });
}

export const AuthPolicyHookSchema = mapping(
  {
    type: Type.Literal("authPolicy", { description: "weakforced, or Dovecot's auth policy." }),
    name: HOOK_NAME,
    url: Type.String({
      format: "http-url",
      valid: "an https:// or http:// address without user and password",
      description: "Where to ask; `command=allow` or `command=report` is added to its query.",
    }),
    insecure: flag({
      default: false,
      description:
        "Lets `url` be http:// to another machine: whoever is in between reads it, and can answer.",
    }),
    ca: Type.Optional(path({ description: "The authorities to trust instead of the system's, PEM." })),
    apiKey: Type.Optional(secret({ description: "Sent as `X-API-Key`." })),
    user: Type.Optional(text({ description: "For HTTP Basic, with `password`: `wforce` for weakforced." })),
    password: Type.Optional(secret({ description: "Its password." })),
    nonce: secret({
      description:
        "Mixed into the password's hash; the same in all that ask one server (Dovecot's `auth_policy_hash_nonce`).",
    }),
    hashMech: choice(["sha256", "sha512", "sha1", "md5"], {
      default: "sha256",
      description: "The password's hash (Dovecot's `auth_policy_hash_mech`).",
    }),
    hashTruncate: Type.Integer({
      minimum: 0,
      maximum: 512,
      default: 12,
      description:
        "Bits of the hash that are sent, 0 for all: few, so that nobody finds passwords by them (Dovecot's `auth_policy_hash_truncate`).",
    }),
    checkBefore: flag({ default: true, description: "Ask before the password is looked at." }),
    checkAfter: flag({ default: true, description: "Ask again when it was right." }),
    report: flag({
      default: true,
      description: "Tell how each try ended, but for outages; nobody waits for that.",
    }),
    maxDelay: duration({
      default: "15s",
      description: "The longest time that its answer can make a client wait.",
    }),
    timeout: patience({ default: "2s", description: "How long one answer may take, at most 10s." }),
    onFailure: choice(["allow", "refuse"], {
      default: "allow",
      description:
        "What happens without an answer. `refuse`: a temporary answer, never that of a wrong password.",
    }),
    match: HOOK_MATCH,
    mode: HOOK_MODE,
  },
  { description: "Asked about tries to sign in, by HTTP." },
);

export const PostfixPolicyHookSchema = mapping(
  {
    type: Type.Literal("postfixPolicy", { description: "Postfix's policy delegation protocol." }),
    name: HOOK_NAME,
    server: Type.String({
      format: "policy-server",
      valid: "HOST:PORT, an IPv6 address in brackets, or unix:/PATH",
      description: "Where to ask.",
    }),
    stages: Type.Array(choice(["rcpt", "data"], { description: "A stage." }), {
      minItems: 1,
      uniqueItems: true,
      default: ["rcpt"],
      description: "When: for each recipient, and before the content, when all recipients are known.",
    }),
    timeout: patience({ default: "5s", description: "How long one answer may take, at most 10s." }),
    onFailure: choice(["allow", "refuse"], {
      default: "refuse",
      description:
        "What happens without an answer. `refuse`: the mail may be sent again later, as Postfix has it.",
    }),
    match: HOOK_MATCH,
    mode: HOOK_MODE,
  },
  { description: "Asked about mail on its way, by submission and SMTP." },
);
