import { FileFollower, type FollowerEvents, type FollowerOptions } from "../io/file-follower.ts";
import { bytesAt } from "./certificate-files.ts";
import { authoritiesProblem, type ClientAuthorities, revocationProblem } from "./client-authorities.ts";

/** The configured authorities for clients' certificates. Rejects in an operator's words. */
export async function readClientAuthorities(ca: string, crl: string | undefined): Promise<ClientAuthorities> {
  const authorities = (await bytesAt(ca)).toString("latin1");
  throwIf(ca, authoritiesProblem(authorities));
  if (crl === undefined) return { ca: authorities };
  const lists = (await bytesAt(crl)).toString("latin1");
  throwIf(crl, revocationProblem(lists));
  return { ca: authorities, crl: lists };
}

function throwIf(path: string, problem: string | undefined): void {
  if (problem !== undefined) throw new Error(`${path}: ${problem}`);
}

/** Follows their files, until disposed of: revocation lists are written anew every few days. */
export function followClientAuthorities(
  {
    ca,
    crl,
    now,
  }: { readonly ca: string; readonly crl: string | undefined; readonly now: ClientAuthorities },
  take: (authorities: ClientAuthorities) => void,
  events: FollowerEvents,
  options?: FollowerOptions,
): Disposable {
  return new FileFollower(
    crl === undefined ? [ca] : [ca, crl],
    JSON.stringify(now),
    {
      ...events,
      read: async () => JSON.stringify(await readClientAuthorities(ca, crl)),
      take: (text) => take(JSON.parse(text) as ClientAuthorities),
    },
    options,
  );
}
