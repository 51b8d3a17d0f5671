import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import type { Config, ServeConfig } from "../config/schema.ts";
import { createPolicy, type Policy } from "../policy/engine.ts";
import type { Places } from "../policy/geo/places.ts";
import type { PolicyObserver } from "../policy/observer.ts";
import { advise } from "../policy/postfix/adviser.ts";
import { CountedMail } from "../policy/postfix/counted.ts";
import { type MailQuestion, readQuestion } from "../policy/postfix/question.ts";
import { actionFor, DUNNO } from "../policy/postfix/replies.ts";
import type { CounterStore } from "../policy/store/store.ts";
import { Refused } from "../refusal.ts";
import type { Logger } from "../telemetry/logger.ts";
import { Quiet } from "../telemetry/quiet.ts";
import type { SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";
import { Networks } from "../wire/networks.ts";
import type { PolicyAttributes } from "../wire/policy-attributes.ts";
import { printable } from "../wire/printable.ts";
import { PolicyConnection } from "./policy-connection.ts";

/** A Postfix has a connection for each of its smtpd processes, 100 unless it is told otherwise. */
const MAX_CONNECTIONS = 1_000;
const LOOPBACK = ["127.0.0.0/8", "::1"];

/** How often a limit gave an answer. */
interface Answers {
  readonly limit: string;
  readonly answer: string;
  readonly times: number;
}

/** Says where clients are, as far as the configuration has files for that; rejects when one cannot be read. */
type OpenPlaces = (config: Config, rooms: AsyncDisposableStack) => Promise<Places | undefined>;

export interface PolicyPortOptions {
  readonly store: CounterStore;
  readonly observer: PolicyObserver;
  readonly metrics: Pick<SupervisorMetrics, "policyRequests">;
  readonly log: Logger;
  readonly places: OpenPlaces;
}

/** Where a Postfix asks the policy: by a policy of its own over the counters that everybody here shares. */
export class PolicyPort implements AsyncDisposable {
  readonly #options: PolicyPortOptions;
  readonly #counted = new CountedMail();
  readonly #connections = new Set<PolicyConnection>();
  readonly #quiet = new Quiet();
  #serve: ServeConfig | undefined;
  #networks: Networks;
  #policy: Policy;
  /** What the policy holds open. */
  #rooms: AsyncDisposableStack;
  /** By the policies that were before. */
  #answered: readonly Answers[] = [];

  /** Rejects when what the configuration names cannot be had. */
  static async open(config: Config, options: PolicyPortOptions): Promise<PolicyPort> {
    return new PolicyPort(config, options, await openPolicy(config, options));
  }

  private constructor(config: Config, options: PolicyPortOptions, { policy, rooms }: OpenPolicy) {
    this.#options = options;
    this.#serve = config.policy.serve;
    this.#networks = this.#readNetworks();
    this.#policy = policy;
    this.#rooms = rooms;
  }

  /** Takes another configuration; never rejects. A Postfix that may not ask any more is let go; one that may comes again. */
  async change(config: Config): Promise<void> {
    const { serve } = config.policy;
    if (!isDeepStrictEqual(serve, this.#serve)) this.leave();
    this.#serve = serve;
    this.#networks = this.#readNetworks();
    try {
      await this.#exchange(await openPolicy(config, this.#options));
    } catch (error) {
      // It was readable a moment ago, when the reload was prepared.
      this.#options.log.error({ err: error }, "policy.serve goes on with the limits of before");
    }
  }

  async #exchange({ policy, rooms }: OpenPolicy): Promise<void> {
    this.#answered = addUp(this.answers());
    this.#policy = policy;
    const before = this.#rooms;
    this.#rooms = rooms;
    await before.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    await this.#rooms.disposeAsync();
  }

  take(socket: Socket): void {
    const peer = socket.remoteAddress;
    const why = this.#whyNot(peer);
    if (why === undefined) this.#open(socket, peer);
    else {
      socket.destroy();
      this.#tell(why, { peer, reason: why }, "a connection to policy.serve was closed");
    }
  }

  /** Ends all connections, each behind the answer that it is owed. A Postfix connects again by itself. */
  leave(): void {
    for (const connection of this.#connections) connection.leave();
  }

  /** How often each limit gave each answer. */
  *answers(): Iterable<Answers> {
    yield* this.#answered;
    yield* this.#policy.answers();
  }

  #whyNot(peer: string | undefined): string | undefined {
    const mayAsk = this.#serve?.socket !== undefined || (peer !== undefined && this.#networks.contains(peer));
    if (!mayAsk) return "it may not ask";
    return this.#connections.size < MAX_CONNECTIONS ? undefined : "there are too many";
  }

  #open(socket: Socket, peer: string | undefined): void {
    const connection = new PolicyConnection(socket, {
      ask: (asked, signal) => this.#ask(asked, signal),
      faulty: (reason) => {
        this.#heard("failed");
        this.#tell("faulty", { peer, reason }, "a connection to policy.serve was not understood");
      },
      closed: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
  }

  #readNetworks(): Networks {
    return new Networks(this.#serve?.networks ?? LOOPBACK);
  }

  /** The action, or undefined in trouble of our own. */
  async #ask(asked: PolicyAttributes, signal: AbortSignal): Promise<string | undefined> {
    const question = readQuestion(asked, this.#serve?.name ?? "");
    if (!question) {
      const address = printable(asked.get("client_address") ?? "");
      this.#tell("no address", { address }, "Postfix asks about a client without an address");
      return this.#heard("dunno", DUNNO);
    }
    try {
      await advise(this.#policy, this.#counted, question, signal);
      return this.#heard("dunno", DUNNO);
    } catch (error) {
      if (error instanceof Refused) return this.#refuse(question, error);
      this.#options.log.error({ err: error }, "Postfix asked the policy in vain");
      return this.#heard("failed");
    }
  }

  #refuse({ facts, state, recipient }: MailQuestion, { refusal }: Refused): string {
    const { kind, detail } = refusal;
    const whose = {
      listener: facts.listener,
      peer: facts.ip,
      ...(facts.user && { user: printable(facts.user) }),
    };
    const what = { state: printable(state), ...(recipient && { recipient: printable(recipient) }) };
    this.#options.log.info({ ...whose, ...what, kind, reason: printable(detail, 500) }, "refused at Postfix");
    const action = actionFor(refusal);
    const answer = kind === "banned" ? "banned" : kind === "forbidden" ? "refused" : "deferred";
    return this.#heard(answer, action);
  }

  #heard<Action extends string | undefined>(answer: string, action?: Action): Action {
    this.#options.metrics.policyRequests.inc({ answer });
    return action as Action;
  }

  /** Once a minute, however often it happens. */
  #tell(what: string, about: object, words: string): void {
    if (this.#quiet.breaks(what)) this.#options.log.warn(about, words);
  }
}

interface OpenPolicy {
  readonly policy: Policy;
  readonly rooms: AsyncDisposableStack;
}

async function openPolicy(
  config: Config,
  { store, observer, places: openPlaces }: PolicyPortOptions,
): Promise<OpenPolicy> {
  await using rooms = new AsyncDisposableStack();
  // Nobody asks where there is no port.
  const places = config.policy.serve && (await openPlaces(config, rooms));
  return { policy: createPolicy({ ...config.policy, store, observer, places }), rooms: rooms.move() };
}

function addUp(all: Iterable<Answers>): readonly Answers[] {
  const sums = new Map<string, Answers>();
  for (const { limit, answer, times } of all) {
    const key = `${limit} ${answer}`;
    sums.set(key, { limit, answer, times: times + (sums.get(key)?.times ?? 0) });
  }
  return [...sums.values()];
}
