import { statSync } from "node:fs";
import { dirname } from "node:path";
import { leadsToLoopback } from "./addresses.ts";
import { checkAuthorities } from "./certificate-files.ts";
import type { Report } from "./report.ts";
import type { Config, PolicyConfig } from "./schema.ts";

const AT = "/policy/events";
const LEAST_SECRET = 16;

/** Where events go. */
export function checkEvents({ policy }: Config, report: Report): void {
  const { webhook, file, nftables } = policy?.events ?? {};
  if (webhook && report.whole(`${AT}/webhook`)) checkWebhook(webhook, report);
  for (const [name, path] of Object.entries({ file, nftables })) {
    if (path === undefined || !report.whole(`${AT}/${name}`)) continue;
    const found = statSync(dirname(path), { throwIfNoEntry: false });
    if (!found?.isDirectory())
      report.warn(`${AT}/${name}`, "is in a folder that is not there", { found: path });
  }
  if (file !== undefined && file === nftables)
    report.error(`${AT}/nftables`, "is the file of the lines, too", { found: nftables });
}

type Webhook = NonNullable<PolicyConfig["events"]["webhook"]>;

/** What stands in `url` may be a secret, and is not shown. */
function checkWebhook({ url: text, secret, ca, insecure }: Webhook, report: Report): void {
  const at = `${AT}/webhook`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isWeb = url?.protocol === "https:" || url?.protocol === "http:";
  if (!url || !isWeb || url.username !== "" || url.password !== "" || url.hash !== "")
    report.error(`${at}/url`, "is not the address of a web server", {
      valid: "https://HOST/PATH, without user and password",
    });
  else if (url.protocol === "http:" && !leadsToLoopback(url)) {
    const what = "names and addresses cross the network in clear text";
    if (insecure) report.warn(`${at}/insecure`, `lets ${what}`, { found: "true" });
    else
      report.error(`${at}/url`, `would let ${what}`, {
        valid: "https://HOST/PATH, http:// to loopback, or insecure: true beside it",
      });
  }
  if (secret.length < LEAST_SECRET)
    report.error(`${at}/secret`, `is too short: ${secret.length} characters`, {
      valid: `${LEAST_SECRET} characters or more, such as openssl rand -base64 32 prints`,
    });
  if (ca !== undefined) checkAuthorities(ca, `${at}/ca`, report);
}
