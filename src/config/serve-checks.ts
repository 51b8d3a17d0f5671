import { isEverywhere, isLoopback, overlaps } from "./addresses.ts";
import type { Entry } from "./entries.ts";
import type { Report } from "./report.ts";
import type { Config, ListenerConfig, ServeConfig } from "./schema.ts";

const AT = "/policy/serve";
/** What a socket's path may have in bytes, with room for the name under which it is made (unix(7): 108). */
const MAX_PATH = 96;

/** Where Postfix asks: one place, and nobody there who was not meant. */
export function checkServe(
  config: Config,
  listeners: readonly Entry<ListenerConfig>[],
  report: Report,
): void {
  const serve = config.policy?.serve;
  if (serve === undefined || !report.whole(AT)) return;
  if (serve.socket !== undefined) checkSocket(serve, serve.socket, report);
  else if (serve.port === undefined)
    report.error(AT, "says nowhere to listen", { valid: "port, with host, or socket" });
  else checkPort({ host: serve.host, port: serve.port }, serve, config, listeners, report);
  if (listeners.some(({ value }) => value.name === serve.name))
    report.error(`${AT}/name`, "is the name of a listener too", {
      found: serve.name,
      valid: "a name of its own",
    });
}

function checkSocket({ port, networks }: ServeConfig, socket: string, report: Report): void {
  if (port !== undefined) report.error(`${AT}/port`, "cannot stand beside socket", { valid: "one of both" });
  if (networks !== undefined)
    report.error(`${AT}/networks`, "means nothing to a unix socket", { valid: "mode and group" });
  if (Buffer.byteLength(socket) > MAX_PATH)
    report.error(`${AT}/socket`, "is too long for a socket's path", {
      found: socket,
      valid: `at most ${MAX_PATH} bytes, made absolute`,
    });
}

function checkPort(
  place: { readonly host: string; readonly port: number },
  { networks = [], group }: ServeConfig,
  { admin }: Config,
  listeners: readonly Entry<ListenerConfig>[],
  report: Report,
): void {
  const found = { found: String(place.port) };
  const listener = listeners.find(({ value }) => overlaps(value, place));
  if (listener) report.error(`${AT}/port`, `is taken by the listener ${listener.value.name}`, found);
  else if (report.whole("/admin") && overlaps(admin, place))
    report.error(`${AT}/port`, "is taken by admin", found);
  if (group !== undefined)
    report.error(`${AT}/group`, "means nothing to a port", { valid: "networks, or socket with group" });
  if (networks.length === 0 && !isLoopback(place.host))
    report.error(`${AT}/host`, "lets everyone ask: an address that is not loopback needs networks", {
      found: place.host,
      valid: "a loopback address such as 127.0.0.1, or networks: who may ask",
    });
  for (const [index, network] of networks.entries())
    if (isEverywhere(network))
      report.error(`${AT}/networks/${index}`, "would answer anybody", {
        found: network,
        valid: "the networks of your own Postfix",
      });
}
