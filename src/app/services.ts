import type { Config, ListenerConfig } from "../config/schema.ts";
import { imap } from "../protocols/imap/index.ts";
import { pop3 } from "../protocols/pop3/index.ts";
import { sieve } from "../protocols/sieve/index.ts";
import { smtp, submission } from "../protocols/smtp/index.ts";
import { clientFacts } from "../session/client-facts.ts";
import type { Protocol } from "../session/protocol.ts";
import type { Rooms } from "../session/run-session.ts";
import { type Endpoint, endpointConnector } from "../upstream/connector.ts";
import { Introduction } from "../upstream/identity.ts";
import type { Asked } from "../upstream/learning.ts";
import { signInAs } from "../upstream/sign-in.ts";

export const PROTOCOLS: Readonly<Record<ListenerConfig["protocol"], Protocol>> = {
  imap,
  pop3,
  sieve,
  smtp,
  submission,
};

/** What one backend speaks at one port. */
export interface Service extends Asked {
  readonly backend: string;
  readonly endpoint: Endpoint;
}

function serviceName(backend: string, protocol: string): string {
  return `${backend}/${protocol}`;
}

/** What we speak at a backend's port: LMTP (RFC 2033) is where SMTP's mail may end. */
function protocolOf(name: string): Protocol {
  return name === "lmtp" ? smtp : PROTOCOLS[name as ListenerConfig["protocol"]];
}

/** The backend's service for a protocol, where it has one. */
export function serviceFor(
  services: ReadonlyMap<string, Service>,
  backend: string,
  protocol: string,
): Service | undefined {
  const service = services.get(serviceName(backend, protocol));
  return service ?? (protocol === "smtp" ? services.get(serviceName(backend, "lmtp")) : undefined);
}

/** Each protocol of each backend, by its service name; `learned` hears what it offers. */
export function openServices(
  config: Config,
  learned: (protocol: string, backend: string, capabilities: readonly string[]) => void,
): Map<string, Service> {
  const services = Object.entries(config.backends).flatMap(([backend, { host, trust, helo, protocols }]) =>
    Object.entries(protocols).map(([name, { port, tls, identity }]): Service => {
      const protocol = protocolOf(name);
      const introduction = new Introduction(identity);
      const ourName = config.hostname;
      const endpoint = { backend, protocol: name, host, port, tls, trust, helo, introduction, ourName };
      const connect = endpointConnector(endpoint, config.timeouts.connect, (capabilities) =>
        learned(protocol.name, backend, capabilities),
      );
      return { backend, name: serviceName(backend, name), protocol, connect, introduction, endpoint };
    }),
  );
  return new Map(services.map((service) => [service.name, service]));
}

/** Left of the login deadline when a backend's time is over, so that the client still hears why. */
const LAST_WORDS = 1_000;

export function makeConnector(config: Config, services: ReadonlyMap<string, Service>): Rooms["connector"] {
  return {
    async connect(session, route) {
      const service = serviceFor(services, route.backend, session.protocol.name);
      if (!service) throw new Error(`no connector for ${route.backend}`);
      const conversationMs = Math.max(session.loginTimeLeftMs - LAST_WORDS, 1);
      const trusted = config.backends[route.backend]?.login === "none" && session.user !== undefined;
      const client = clientFacts(session, trusted ? route.login : undefined);
      return service.connect({ signal: session.signal, conversationMs, client });
    },
    signIn(route, credential, identity) {
      const backend = config.backends[route.backend];
      if (!backend) throw new Error(`no backend ${route.backend}`);
      // The backend takes our word for it.
      if (backend.login === "none") return undefined;
      return signInAs(backend.login, route.login, credential, identity.password);
    },
  };
}
