/** Where a policy server listens. */
export type PolicyServer = { readonly host: string; readonly port: number } | { readonly path: string };

/** Reads `HOST:PORT`, an IPv6 address in brackets, or `unix:/PATH`; undefined for anything else. */
export function policyServer(text: string): PolicyServer | undefined {
  const [, path] = /^unix:(\/[^\0]{1,100})$/.exec(text) ?? [];
  if (path !== undefined) return { path };
  const url =
    /^[^/?#@]+:[0-9]+$/.test(text) && URL.canParse(`tcp://${text}`) ? new URL(`tcp://${text}`) : undefined;
  const port = Number(url?.port);
  return url && url.hostname !== "" && port > 0
    ? { host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port }
    : undefined;
}
