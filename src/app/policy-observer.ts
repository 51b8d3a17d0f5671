import type { Would } from "../policy/limit.ts";
import type { PolicyObserver } from "../policy/observer.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { printable } from "../wire/printable.ts";

const DONE = {
  refuse: "refused",
  delay: "delayed",
  ban: "banned",
  throttle: "slowed down",
  alert: "told",
} as const satisfies Record<Would, string>;

/** Without metrics it is told of what operators do: that is no limit's answer. */
export function observePolicy(log: Logger, metrics?: Pick<Metrics, "wouldRefuse" | "bans">): PolicyObserver {
  return {
    wouldRefuse(limit, key, counter, would) {
      metrics?.wouldRefuse.inc({ limit });
      log.info(
        { limit, key: printable(key), counter: printable(counter) },
        `a limit in observe mode would have ${DONE[would]}`,
      );
    },
    delayed(limit, key, counter, ms) {
      const about = { limit, key: printable(key), counter: printable(counter) };
      log.info({ ...about, seconds: ms / 1000 }, "delayed by a limit");
    },
    banned(limit, key, ms) {
      metrics?.bans.inc({ limit });
      log.warn({ limit, key: printable(key), seconds: Math.round(ms / 1000) }, "banned");
    },
  };
}
