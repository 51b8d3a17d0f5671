import type { Identity } from "../auth/identity.ts";
import { Refused } from "../refusal.ts";

/** One rule; each list matches when it is absent or names the session's own. */
export interface RouteRule {
  readonly match?: {
    readonly user?: readonly string[];
    readonly domain?: readonly string[];
    readonly protocol?: readonly string[];
    /** Another server's mail: an address, or its domain. */
    readonly recipient?: readonly string[];
    readonly recipientDomain?: readonly string[];
  };
  readonly to: string;
  /** The name at the backend, with {user}, {local} and {domain}. */
  readonly loginAs?: string;
}

/** The backends that speak a protocol, by name. */
export type Serves = (backend: string, protocol: string) => boolean;

/**
 * Identity to backend. What the source of users says goes first, then the first rule that matches; a single
 * backend without any rule takes everybody. Throws Refused("noRoute").
 */
export function createRouter(rules: readonly RouteRule[], backends: readonly string[], serves: Serves) {
  const only = rules.length === 0 && backends.length === 1 ? backends[0] : undefined;
  const lowered = rules.map(lowerRule);
  return {
    route(identity: Identity, protocol: string): { backend: string; login: string } {
      const rule = lowered.find((candidate) => matches(candidate, identity.user, protocol));
      const backend = identity.backend ?? rule?.to ?? only;
      if (backend === undefined) throw new Refused("noRoute", "no route matches this user");
      if (!backends.includes(backend))
        throw new Refused("noRoute", `the user's backend "${backend}" is not configured`);
      if (!serves(backend, protocol)) throw new Refused("noRoute", `backend ${backend} has no ${protocol}`);
      const template = backend === rule?.to ? rule.loginAs : undefined;
      return { backend, login: identity.login ?? (template ? fill(template, identity.user) : identity.user) };
    },
    /** Only a rule that names the address or its domain takes another server's mail: no rule opens a relay by silence. */
    routeRecipient(address: string, protocol: string): { backend: string; login: string } {
      const rule = lowered.find((candidate) => takesRecipient(candidate, address.toLowerCase(), protocol));
      // RFC 5321 4.5.1: somebody must hear <postmaster>, and without a domain it may be any of them.
      const somebody =
        address.toLowerCase() === "postmaster" && backends.find((name) => serves(name, protocol));
      if (!rule && somebody) return { backend: somebody, login: address };
      if (!rule) throw new Refused("noRoute", "no route names this recipient or its domain");
      if (!serves(rule.to, protocol)) throw new Refused("noRoute", `backend ${rule.to} has no ${protocol}`);
      return { backend: rule.to, login: address };
    },
  };
}

const lower = (names: readonly string[] | undefined): string[] | undefined =>
  names?.map((name) => name.toLowerCase());

function lowerRule(rule: RouteRule) {
  const { user, domain, protocol, recipient, recipientDomain } = rule.match ?? {};
  return {
    ...rule,
    user: lower(user),
    domain: lower(domain),
    protocol,
    recipient: lower(recipient),
    recipientDomain: lower(recipientDomain),
  };
}

function matches(rule: ReturnType<typeof lowerRule>, user: string, protocol: string): boolean {
  const name = user.toLowerCase();
  // A rule about recipients is about mail from other servers, not about somebody who signs in.
  return (
    !rule.recipient &&
    !rule.recipientDomain &&
    (rule.user?.includes(name) ?? true) &&
    (rule.domain?.includes(domainOf(name)) ?? true) &&
    (rule.protocol?.includes(protocol) ?? true)
  );
}

/** A user's own rules take his mail too; what is given must fit, and something must be given. */
function takesRecipient(rule: ReturnType<typeof lowerRule>, address: string, protocol: string): boolean {
  const domain = domainOf(address);
  const asked = [
    [rule.user, address],
    [rule.recipient, address],
    [rule.domain, domain],
    [rule.recipientDomain, domain],
  ] as const;
  const given = asked.filter(([names]) => names !== undefined);
  return (
    given.length > 0 &&
    given.every(([names, name]) => names?.includes(name)) &&
    (rule.protocol?.includes(protocol) ?? true)
  );
}

/** What stands behind the last "@", or nothing. */
export function domainOf(user: string): string {
  const at = user.lastIndexOf("@");
  return at === -1 ? "" : user.slice(at + 1);
}

function fill(template: string, user: string): string {
  const at = user.lastIndexOf("@");
  const parts: Record<string, string> = {
    user,
    local: at === -1 ? user : user.slice(0, at),
    domain: domainOf(user),
  };
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => parts[name] ?? whole);
}
