import { leadsToLoopback } from "./addresses.ts";
import { checkAuthorities, checkCertificatePair } from "./certificate-files.ts";
import type { Report } from "./report.ts";
import type { Config } from "./schema.ts";
import { isRedisUrl } from "./validate.ts";

const LEAST_SECRET = 32;

/** A store in Redis, and what several Posterns share by it. */
export function checkRedis({ policy, clusterSecret, tls }: Config, report: Report): void {
  if (clusterSecret !== undefined && clusterSecret.length < LEAST_SECRET)
    report.error("/clusterSecret", `is too short: ${clusterSecret.length} characters`, {
      valid: `${LEAST_SECRET} characters or more, such as openssl rand -base64 32 prints`,
    });
  if (!report.whole("/policy/store") || !policy || policy.store === "memory") return;
  const { redis } = policy.store;
  checkWays(redis, report);
  checkTrust(redis, report);
  if (clusterSecret === undefined)
    report.warn(
      "/policy/store",
      tls?.acme
        ? "shares counters only: without clusterSecret every Postern orders its own certificate and resumes only its own TLS sessions"
        : "shares counters only: without clusterSecret every Postern resumes only its own TLS sessions",
    );
}

type Redis = Exclude<Config["policy"]["store"], string>["redis"];

const AT = "/policy/store/redis";

function checkWays(redis: Redis, report: Report): void {
  const ways = (["url", "sentinels", "nodes"] as const).filter((way) => redis[way] !== undefined);
  if (ways.length !== 1)
    report.error(
      AT,
      ways.length === 0 ? "says not where it is" : `says twice where it is: ${ways.join(", ")}`,
      {
        valid: "one of url, sentinels with name, and nodes",
      },
    );
  if (redis.url !== undefined && !isRedisUrl(redis.url))
    report.error(`${AT}/url`, "is not the address of a Redis", {
      valid: "redis://HOST:PORT/DB or rediss://…",
    });
  if ((redis.sentinels === undefined) !== (redis.name === undefined))
    report.error(AT, "lacks a half: sentinels and name go together");
  if (redis.nodes !== undefined && (redis.db ?? 0) !== 0)
    report.error(`${AT}/db`, "is nothing that a Cluster has", { found: String(redis.db), valid: "0" });
}

function checkTrust({ url, tls, sentinels, nodes }: Redis, report: Report): void {
  if (tls?.insecure) report.warn(`${AT}/tls/insecure`, "believes any certificate", { found: "true" });
  if (tls?.ca !== undefined) checkAuthorities(tls.ca, `${AT}/tls/ca`, report);
  if (tls?.cert !== undefined && tls.key !== undefined)
    checkCertificatePair({ cert: tls.cert, key: tls.key }, `${AT}/tls`, report);
  else if (tls?.cert !== undefined || tls?.key !== undefined)
    report.error(`${AT}/tls`, "lacks a half: cert and key go together");
  if (tls || url?.startsWith("rediss:")) return;
  const places = [...(sentinels ?? []), ...(nodes ?? [])].map((place) => `redis://${place}`);
  const hosts = [url, ...places].filter((one) => one !== undefined && isRedisUrl(one));
  const away = hosts.some((one) => !leadsToLoopback(new URL(String(one))));
  if (away) report.warn("/policy/store", "sends names and counters over the network in clear text");
}
