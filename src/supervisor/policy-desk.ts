import { isIP } from "node:net";
import type { PolicyAnswer, PolicyControl, Whom } from "../admin/policy-control.ts";
import type { Config } from "../config/schema.ts";
import { LONGEST_PERIOD_MS, parseDuration } from "../config/units.ts";
import { createPolicy, type Policy } from "../policy/engine.ts";
import { readPlaces } from "../policy/geo/geo-files.ts";
import { asnName, countryCode } from "../policy/geo/names.ts";
import { placesUnread } from "../policy/geo/places.ts";
import { PARTS } from "../policy/limit-key.ts";
import type { PolicyObserver } from "../policy/observer.ts";
import type { Ban, CounterStore } from "../policy/store/store.ts";
import type { Top, TopBy, TopCount } from "../policy/top/top.ts";

/** Controls, line separators and broken surrogates are in nobody's name. */
const UNFIT = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;
/** A name that reads like one more part of the key. */
const LIKE_A_PART = new RegExp(` (?:${PARTS.join("|")})=`);
/** An IPv6 network, as bans are shown. */
const NETWORK = /\/\d{1,3}$/;

/** What an operator asks about limits and bans, and does to them: by a policy of its own over the same counters. */
export class PolicyDesk implements PolicyControl {
  readonly #store: CounterStore;
  readonly #observer: PolicyObserver;
  readonly #isAlone: () => boolean;
  readonly #top: Top;
  #config: Config;
  #policy: Policy;

  /** `isAlone`: whether the store that several gateways share is away, and this one counts by itself. */
  constructor(
    config: Config,
    store: CounterStore,
    observer: PolicyObserver,
    isAlone: () => boolean,
    top: Top,
  ) {
    this.#top = top;
    this.#store = store;
    this.#observer = observer;
    this.#isAlone = isAlone;
    this.#config = config;
    this.#policy = this.#open();
  }

  /** Takes another configuration. */
  change(config: Config): void {
    this.#config = config;
    this.#policy = this.#open();
  }

  /** Hooks are named, not asked: their servers would count it as a try. */
  async explain(whom: Whom): Promise<PolicyAnswer> {
    const { ip, protocol, listener, ...others } = whom;
    const problems = this.#problemsIn(others);
    const port = this.#config.listeners.find(({ name }) => name === listener);
    if (ip === undefined && whom.user === undefined) problems.push("say who: user, ip or both");
    if (ip !== undefined && !isIP(ip)) problems.push(`ip: ${JSON.stringify(ip)} is no IP address`);
    const served = listener === this.#config.policy.serve?.name;
    if (listener !== undefined && !port && !served)
      problems.push(`listener: there is none named ${listener}`);
    else if (port && protocol !== undefined && port.protocol !== protocol)
      problems.push(`protocol: listener ${listener} speaks ${port.protocol}`);
    if (problems.length > 0) return { ok: false, problems };
    const places = await readPlaces(this.#config.policy.geo).catch((error: Error) => error);
    if (places instanceof Error) return { ok: false, problems: [places.message] };
    const { bans, ...told } = await this.#open(places).explain({
      ...whom,
      ...(port && { protocol: port.protocol }),
    });
    const hooks = this.#config.policy.hooks.map(({ name }) => name);
    return this.#tell({ ...told, bans: bans.map(dated), ...(hooks.length > 0 && { hooks }) });
  }

  async bans(limit: number): Promise<PolicyAnswer> {
    const bans = await this.#policy.bans();
    const first = bans.toSorted((one, other) => one.leftMs - other.leftMs).slice(0, limit);
    return this.#tell({ total: bans.length, bans: first.map(dated) });
  }

  async top(by: TopBy, count: TopCount, limit: number): Promise<PolicyAnswer> {
    const { since, rows } = this.#top.list(by, count, limit);
    const told = rows.map(({ key, ...row }) => ({ [by]: key, ...row }));
    return { ok: true, body: { by, count, since: since.toISOString(), top: told } };
  }

  async ban(whom: Whom, time: string): Promise<PolicyAnswer> {
    const ms = parseDuration(time, LONGEST_PERIOD_MS);
    const problems = this.#problemsOf(whom);
    if (!ms) problems.push(`for: ${JSON.stringify(time)} is no time such as 30m, 1h or 7d`);
    if (problems.length > 0 || !ms) return { ok: false, problems };
    const ban = await this.#policy.ban(keyOf(whom), ms);
    const by = Object.keys(whom).join(" and ");
    if (!ban) return { ok: false, problems: [`no limit bans by ${by}, so nobody would ask for this ban`] };
    return this.#tell({ ...dated(ban), exempt: await this.#isExempt(whom) });
  }

  async unban(whom: Whom): Promise<PolicyAnswer> {
    const problems = this.#problemsOf(whom);
    if (problems.length > 0) return { ok: false, problems };
    return this.#tell({ lifted: await this.#policy.unban(keyOf(whom)) });
  }

  async unbanAll(by: string, whom: Whom): Promise<PolicyAnswer> {
    if (Object.keys(whom).length > 0)
      return { ok: false, problems: ["by: is for all bans of a limit; leave it out to lift somebody's"] };
    const meant = (await this.#policy.bans()).filter((ban) => ban.by === by);
    let bans = 0;
    for (const { key } of meant) if (await this.#policy.unban(key)) bans += 1;
    return this.#tell({ lifted: bans > 0, bans });
  }

  /** Where addresses are is read when somebody asks, which is rare: the files are large. */
  #open(places = placesUnread(this.#config.policy.geo)): Policy {
    return createPolicy({ ...this.#config.policy, store: this.#store, observer: this.#observer, places });
  }

  #tell(body: object): PolicyAnswer {
    return { ok: true, body: { ...body, ...(this.#isAlone() && { alone: true }) } };
  }

  async #isExempt({ ip }: Whom): Promise<boolean> {
    const [address = ""] = ip?.split("/") ?? [];
    return isIP(address) !== 0 && (await this.#policy.explain({ ip: address })).exempt;
  }

  /** Nobody means everybody, and that is never meant. */
  #problemsOf(whom: Whom): string[] {
    return Object.keys(whom).length === 0 ? [`say whom: ${PARTS.join(", ")}`] : this.#problemsIn(whom);
  }

  #problemsIn(whom: Whom): string[] {
    const problems: string[] = [];
    for (const part of PARTS) {
      const value = whom[part];
      if (value === undefined) continue;
      if (UNFIT.test(value) || LIKE_A_PART.test(value)) problems.push(`${part}: that can be nobody's`);
      else if (part === "country" || part === "asn") problems.push(...this.#problemOfPlace(part, value));
      else if (part === "ip") problems.push(...this.#problemOfAddress(value));
    }
    return problems;
  }

  #problemOfPlace(part: "country" | "asn", text: string): string[] {
    if (this.#config.policy.geo[part] === undefined)
      return [`${part}: policy.geo.${part} is not configured, so nobody's is known`];
    if (part === "country")
      return countryCode(text) ? [] : [`country: ${JSON.stringify(text)} is neither two letters nor unknown`];
    return asnName(text)
      ? []
      : [`asn: ${JSON.stringify(text)} is neither a number such as AS64500 nor unknown`];
  }

  /** The network of one IPv6 client is shown with its prefix, and understood so. */
  #problemOfAddress(text: string): string[] {
    const { ipv6Prefix } = this.#config.policy;
    const address = text.replace(NETWORK, "");
    const whole = address === text || (isIP(address) === 6 && text.endsWith(`/${ipv6Prefix}`));
    if (isIP(address) && whole) return [];
    return [`ip: ${JSON.stringify(text)} is no IP address; IPv6 networks are /${ipv6Prefix} here`];
  }
}

/** As the log shows it. */
function keyOf(whom: Whom): string {
  return PARTS.flatMap((part) => (whom[part] === undefined ? [] : [`${part}=${whom[part]}`])).join(" ");
}

function dated<Any extends Ban>({ leftMs, ...ban }: Any): object {
  return { ...ban, leftMs: Math.ceil(leftMs), until: new Date(Date.now() + leftMs).toISOString() };
}
