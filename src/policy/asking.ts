import { type Limit, Rule } from "./limit.ts";
import { type KeyPart, limitKey, type Subject } from "./limit-key.ts";
import type { MailElsewhere } from "./policy.ts";
import type { Bucket, Question } from "./store/store.ts";

/** What each asking point counts, and how many of it; 0 only looks whether something is left. */
const POINTS = {
  connection: { connections: 1 },
  attempt: { authFailures: 1 },
  login: { logins: 1, sessions: 1, networks: 1, bytesIn: 0, bytesOut: 0 },
  message: { messages: 1, refusedRecipients: 0, bytesIn: 0, bytesOut: 0 },
  recipient: { recipients: 1, refusedRecipients: 0 },
  refusedRecipient: { refusedRecipients: 1 },
} as const satisfies Readonly<Record<string, Readonly<Partial<Record<Limit["count"], number>>>>>;

export type AskingPoint = keyof typeof POINTS;

/** Whose bans can come up while mail passes: only a limit on what passes meets somebody who is signed in. */
const PASSING: ReadonlySet<Limit["count"]> = new Set([
  "messages",
  "recipients",
  "refusedRecipients",
  "bytesIn",
  "bytesOut",
]);

const MAIL: ReadonlySet<AskingPoint> = new Set(["message", "recipient", "refusedRecipient"]);

/** What is counted when it is over, and only looked at before. */
const AFTERWARDS: ReadonlySet<Limit["count"]> = new Set(["refusedRecipients"]);

/** By these an operator may ban, whatever limits there are. */
const ALWAYS: readonly (readonly KeyPart[])[] = [["ip"], ["user"], ["domain"]];

/** A question, and who counts in each of its buckets. */
export interface Asked {
  readonly question: Question;
  readonly rules: readonly Rule[];
  /** The limits' keys, bucket by bucket. */
  readonly whom: readonly string[];
}

interface Point {
  readonly asks: readonly { readonly rule: Rule; readonly cost: number }[];
  readonly bans: readonly (readonly KeyPart[])[];
}

/** All limits, sorted by the points at which they are asked. */
export class Asking {
  readonly rules: readonly Rule[];
  readonly #points: Readonly<Record<AskingPoint, Point>>;
  readonly #bans: readonly (readonly KeyPart[])[];

  /** `places`: what is known of where somebody is, by which operators may ban too. */
  constructor(limits: readonly Limit[], mode: "enforce" | "observe", places: readonly KeyPart[] = []) {
    this.rules = limits.map((limit) => new Rule(limit, mode));
    this.#bans = shapesOf(
      this.rules
        .filter(({ bans }) => bans)
        .map(({ per }) => per)
        .concat(
          ALWAYS,
          places.map((part) => [part]),
        ),
    );
    const passing = shapesOf(
      this.rules.filter((rule) => rule.bans && PASSING.has(rule.count)).map(({ per }) => per),
    );
    const point = (name: AskingPoint): Point => ({
      asks: this.rules.flatMap((rule) => {
        const cost: number | undefined = (POINTS[name] as Partial<Record<Limit["count"], number>>)[
          rule.count
        ];
        // Who is slowed down may enter, and who is banned for one more, or only told of, may have that one.
        const harmless = rule.deed !== "refuse" && rule.deed !== "delay";
        const moot =
          (name === "login" && rule.deed === "throttle") ||
          (cost === 0 && AFTERWARDS.has(rule.count) && harmless);
        return cost === undefined || moot ? [] : [{ rule, cost }];
      }),
      bans: MAIL.has(name) ? passing : this.#bans,
    });
    this.#points = {
      connection: point("connection"),
      attempt: point("attempt"),
      login: point("login"),
      message: point("message"),
      recipient: point("recipient"),
      refusedRecipient: point("refusedRecipient"),
    };
  }

  /** What to ask about a subject at this point; undefined where nothing can come of it. */
  ask(name: AskingPoint, subject: Subject): Asked | undefined {
    return this.#question(this.#points[name], subject);
  }

  #question({ asks, bans }: Point, subject: Subject): Asked | undefined {
    const rules: Rule[] = [];
    const whom: string[] = [];
    const buckets: Bucket[] = [];
    for (const { rule, cost } of asks) {
      const key = rule.concerns(subject) ? rule.whom(subject) : undefined;
      if (key === undefined) continue;
      rules.push(rule);
      whom.push(key);
      const bucket = rule.bucketOf(key, cost, subject.ip);
      // Mail is slowed down by taking the next message later. What is over is counted, whatever the limit says.
      const soft = rule.deed === "throttle" ? false : bucket.soft || (cost > 0 && AFTERWARDS.has(rule.count));
      buckets.push(soft === bucket.soft ? bucket : { ...bucket, soft });
    }
    // A ban holds wherever its key is met, whatever the limit that led to it matches.
    const banned = keysOf(bans, subject);
    if (buckets.length === 0 && banned.length === 0) return undefined;
    return { question: { bans: banned, buckets, ...visitorOf(subject) }, rules, whom };
  }

  /** The same for mail that passes another server: it is told all bans, for nobody has asked there before. */
  askElsewhere(subject: Subject, { messages, recipients, bytesIn }: MailElsewhere): Asked | undefined {
    const costs = { messages, recipients, bytesIn: bytesIn === undefined ? undefined : 0 };
    const asks = this.rules.flatMap((rule) => {
      const cost = (costs as Partial<Record<Limit["count"], number>>)[rule.count];
      return cost === undefined ? [] : [{ rule, cost }];
    });
    return this.#question({ asks, bans: this.#bans }, subject);
  }

  /** Everything that there is to know about a subject. */
  askAll(subject: Subject): Asked {
    const rules = this.rules.filter((rule) => rule.concerns(subject) && rule.whom(subject) !== undefined);
    const whom = rules.map((rule) => rule.whom(subject) as string);
    const buckets = rules.map((rule, at) => rule.bucketOf(whom[at] as string, 1, subject.ip));
    return { question: { bans: keysOf(this.#bans, subject), buckets, ...visitorOf(subject) }, rules, whom };
  }

  /** Whether anybody would ever ask for a ban of these parts. */
  bansBy(parts: readonly KeyPart[]): boolean {
    return this.#bans.some((shape) => shape.join() === parts.join());
  }
}

function shapesOf(shapes: readonly (readonly KeyPart[])[]): (readonly KeyPart[])[] {
  return [...new Map(shapes.map((shape) => [shape.join(), shape])).values()];
}

function keysOf(shapes: readonly (readonly KeyPart[])[], subject: Subject): string[] {
  const keys: string[] = [];
  for (const shape of shapes) {
    const key = limitKey(shape, subject);
    if (key !== undefined) keys.push(key);
  }
  return keys;
}

function visitorOf({ user, ip }: Subject): Pick<Question, "visitor"> {
  return user === undefined || ip === undefined ? {} : { visitor: { user, network: ip } };
}
