import { openCarrier } from "../app/open-carrier.ts";
import { openGeoFiles } from "../app/rooms.ts";
import type { News } from "../supervisor/news.ts";
import { runWorker, workerLine } from "../supervisor/worker.ts";
import { createLogger } from "../telemetry/logger.ts";
import { CommonTls } from "../tls/common.ts";
import { type Offer, Offers } from "../upstream/capabilities.ts";

/** `postern worker`: what the gateway starts to carry sessions; nothing for people. */
export async function worker(): Promise<number> {
  const line = workerLine();
  if (!line) {
    console.error("postern worker: only the gateway itself starts this");
    return 2;
  }
  let logger: ReturnType<typeof createLogger> | undefined;
  const fault = (error: unknown): void => logger?.log.error({ err: error }, "a fault of the gateway");
  process.on("uncaughtException", fault);
  let tls: CommonTls | undefined;
  const code = await runWorker({
    line,
    fault,
    tls: (state) => tls?.change(state),
    open(start, store) {
      logger = createLogger(start.config.logging);
      tls = new CommonTls(start.tls);
      const backend = (name: string, trouble: string | undefined): void =>
        void line.send({ type: "backend", name, trouble });
      const heard = new Offers();
      for (const offer of start.known) heard.learn(offer);
      const offers = {
        get all() {
          return heard.all;
        },
        learn: (offer: Offer) => heard.learn(offer) && line.send({ type: "offer", offer }),
      };
      const news = (one: News): void => void line.send({ type: "news", ...one });
      const geo = openGeoFiles(news);
      return openCarrier(start.config, logger.log, { ...start, store, tls, offers, backend, news, geo });
    },
  });
  logger?.flush();
  // The channel and what is left of the last sessions would hold the process; all that had to be said is said.
  process.exit(code);
}
