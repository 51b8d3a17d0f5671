import { type Limit, Rule } from "./limit.ts";
import { type KeyPart, limitKey, type Subject } from "./limit-key.ts";
import type { Bucket, Question } from "./store/store.ts";

/** What each asking point counts, and how many of it; 0 only looks whether something is left. */
const POINTS = {
  connection: { connections: 1 },
  attempt: { authFailures: 1 },
  login: { logins: 1, sessions: 1, bytesIn: 0, bytesOut: 0 },
  message: { messages: 1, bytesIn: 0, bytesOut: 0 },
  recipient: { recipients: 1 },
} as const satisfies Readonly<Record<string, Readonly<Partial<Record<Limit["count"], number>>>>>;

export type AskingPoint = keyof typeof POINTS;

/** Whose bans can come up while mail passes: only a limit on what passes meets somebody who is signed in. */
const PASSING: ReadonlySet<Limit["count"]> = new Set(["messages", "recipients", "bytesIn", "bytesOut"]);

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
        // Who is slowed down may enter.
        const moot = name === "login" && rule.deed === "throttle";
        return cost === undefined || moot ? [] : [{ rule, cost }];
      }),
      bans: name === "message" || name === "recipient" ? passing : this.#bans,
    });
    this.#points = {
      connection: point("connection"),
      attempt: point("attempt"),
      login: point("login"),
      message: point("message"),
      recipient: point("recipient"),
    };
  }

  /** What to ask about a subject at this point; undefined where nothing can come of it. */
  ask(name: AskingPoint, subject: Subject): Asked | undefined {
    const { asks, bans } = this.#points[name];
    const rules: Rule[] = [];
    const whom: string[] = [];
    const buckets: Bucket[] = [];
    for (const { rule, cost } of asks) {
      const key = rule.concerns(subject) ? rule.whom(subject) : undefined;
      if (key === undefined) continue;
      rules.push(rule);
      whom.push(key);
      const bucket = rule.bucketOf(key, cost);
      // Mail is slowed down by taking the next message later.
      buckets.push(rule.deed === "throttle" ? { ...bucket, soft: false } : bucket);
    }
    // A ban holds wherever its key is met, whatever the limit that led to it matches.
    const banned = keysOf(bans, subject);
    if (buckets.length === 0 && banned.length === 0) return undefined;
    return { question: { bans: banned, buckets, ...visitorOf(subject) }, rules, whom };
  }

  /** Everything that there is to know about a subject. */
  askAll(subject: Subject): Asked {
    const rules = this.rules.filter((rule) => rule.concerns(subject) && rule.whom(subject) !== undefined);
    const whom = rules.map((rule) => rule.whom(subject) as string);
    const buckets = rules.map((rule, at) => rule.bucketOf(whom[at] as string, 1));
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
