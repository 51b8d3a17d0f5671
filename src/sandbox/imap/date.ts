const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY = 24 * 60 * 60 * 1000;

function monthIndex(name: string | undefined): number {
  return MONTHS.findIndex((month) => month.toLowerCase() === name?.toLowerCase());
}

/** RFC 3501 9, date-time without its quotes: ` 7-Jul-2026 02:44:25 +0200`. */
export function parseDateTime(text: string): Date | undefined {
  const found = /^([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$/.exec(text);
  if (!found) return undefined;
  const [day, , year, hour, minute, second, , zoneHour, zoneMinute] = found.slice(1).map(Number);
  const month = monthIndex(found[2]);
  const local = Date.UTC(year ?? 0, month, day, hour, minute, second);
  const offset = ((zoneHour ?? 0) * 60 + (zoneMinute ?? 0)) * 60_000 * (found[7] === "-" ? -1 : 1);
  return month < 0 || Number.isNaN(local) ? undefined : new Date(local - offset);
}

/** INTERNALDATE, always in UTC: the store keeps the moment, not the zone. */
export function formatDateTime(date: Date): string {
  const two = (number: number): string => String(number).padStart(2, "0");
  const day = String(date.getUTCDate()).padStart(2, " ");
  const year = String(date.getUTCFullYear()).padStart(4, "0");
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(":");
  return `${day}-${MONTHS[date.getUTCMonth()]}-${year} ${time} +0000`;
}

/** RFC 3501 9, date-text: `7-Jul-2026`, as a number of days that compares. */
export function parseDay(text: string): number | undefined {
  const found = /^(\d{1,2})-([A-Za-z]{3})-(\d{4})$/.exec(text);
  return found ? dayOf(found[1], found[2], found[3]) : undefined;
}

/** RFC 3501 6.4.4: the day in the Date field as its writer saw it, whatever the zone. */
export function dayOfDateField(value: string): number | undefined {
  const found = /\b(\d{1,2})\s+([A-Za-z]{3})\s+(\d{4})\b/.exec(value);
  return found ? dayOf(found[1], found[2], found[3]) : undefined;
}

export function dayOfDate(date: Date): number {
  return Math.floor(date.getTime() / DAY);
}

function dayOf(day?: string, month?: string, year?: string): number | undefined {
  const index = monthIndex(month);
  return index < 0 ? undefined : Math.floor(Date.UTC(Number(year), index, Number(day)) / DAY);
}
