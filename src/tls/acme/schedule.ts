import type { AcmeCertificate } from "./certificate.ts";
import { covers } from "./certificate.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** The first pause after a failure, and the least one: an authority counts failures by the hour. */
export const LEAST_PAUSE = 5 * MINUTE;
const LONGEST_PAUSE = 12 * HOUR;
/** As long as we let an authority send us away. */
const LONGEST_WISH = 7 * 24 * HOUR;

export interface RenewalWish {
  readonly domains: readonly string[];
  readonly renewBefore: number;
}

/**
 * When a certificate is to be renewed: `renewBefore` ahead of its end, at most a third of its life ahead, and a
 * little later by chance (`luck` from 0 to 1), so that gateways that began together do not all come at once.
 */
export function dueAt(
  certificate: AcmeCertificate | undefined,
  { domains, renewBefore }: RenewalWish,
  luck: number,
): number {
  if (!certificate || !covers(certificate, domains)) return 0;
  const { validFrom, validTo } = certificate;
  const ahead = Math.min(renewBefore, (validTo - validFrom) / 3);
  return validTo - ahead + (luck * ahead) / 10;
}

/** How long to wait after so many failures in a row, in milliseconds: doubled each time, spread, as long as asked for. */
export function pauseAfter(failures: number, luck: number, askedMs = 0): number {
  const doubled = Math.min(LEAST_PAUSE * 2 ** Math.min(failures - 1, 20), LONGEST_PAUSE);
  return Math.max(doubled * (1 + luck / 2), Math.min(askedMs, LONGEST_WISH));
}
