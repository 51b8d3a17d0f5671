import { openServices, type Service } from "../app/services.ts";
import type { Config } from "../config/schema.ts";
import { Refused } from "../refusal.ts";
import type { UpstreamConnection } from "../upstream/connection.ts";
import { ask } from "../upstream/learning.ts";
import { printable } from "../wire/printable.ts";

const DAY = 24 * 60 * 60 * 1000;

/**
 * Goes to every port of every backend, with the trust that is configured, and tells one by one what it found.
 * Resolves to whether all of them could be reached and believed.
 */
export async function probe(config: Config, tell: (line: string) => void): Promise<boolean> {
  const services = [...openServices(config, () => {}).values()];
  const findings = await Promise.all(services.map((service) => visit(service)));
  for (const { line } of findings) tell(line);
  return findings.every(({ good }) => good);
}

async function visit(service: Service): Promise<{ readonly line: string; readonly good: boolean }> {
  const { backend, endpoint } = service;
  const name = `${backend} ${endpoint.protocol} ${endpoint.port}`;
  let tls = "";
  const error = await ask(service, new AbortController().signal, (upstream) => {
    tls = describeTls(service, upstream);
  });
  if (error) return { line: `${name}: failed: ${reasonIn(error)}`, good: false };
  return { line: `${name}: ${tls}, sees the client's address: ${describeIdentity(service)}`, good: true };
}

function reasonIn(error: Error): string {
  return printable(error instanceof Refused ? error.refusal.detail : error.message, 300);
}

function describeTls({ endpoint }: Service, { channel, certificateEnds }: UpstreamConnection): string {
  if (endpoint.tls === "none") return "no TLS";
  const how = endpoint.tls === "starttls" ? "STARTTLS" : "implicit";
  const days = certificateEnds && Math.floor((certificateEnds.getTime() - Date.now()) / DAY);
  const ends =
    days === undefined ? [] : [days < 0 ? "expired" : `expires in ${days} ${days === 1 ? "day" : "days"}`];
  const word = endpoint.trust.insecure ? "TLS not verified" : "TLS ok";
  return `${word} (${[how, channel.tls?.version ?? "unknown", ...ends].join(", ")})`;
}

function describeIdentity({ endpoint, introduction }: Service): string {
  const { by, whyNot } = introduction.outcome;
  if (by === "id") return "by ID, if login_trusted_networks has us";
  if (by === "xclient") return "yes, by XCLIENT";
  if (by !== undefined) return `yes, by PROXY ${by.slice(-2)}`;
  if (introduction.mode === "none") return "no: identity is none";
  return `no: ${whyNot ?? "it offers us no way"}; ${remedy(endpoint.protocol)}`;
}

function remedy(protocol: string): string {
  switch (protocol) {
    case "imap":
      return "let it take a PROXY header from us (Dovecot: haproxy_trusted_networks), and set identity: proxy-v2";
    case "pop3":
    case "sieve":
      return "Dovecot: add us to login_trusted_networks";
    default:
      return (
        "Postfix: add us to smtpd_authorized_xclient_hosts; Dovecot: to login_trusted_networks; " +
        "others: helo: client tells them its name at least"
      );
  }
}
