import { addressOf, type PolicyEvent } from "./event.ts";

/** What needs no escape: neither a space nor anything that a terminal, or another program's pattern, would obey. */
const PLAIN = /[^A-Za-z0-9@.:/_+-]/gu;
const LONGEST = 256;

/**
 * One line of the file: `TIME ADDRESS KIND LIMIT key=value …`. The address comes first and is `-` where the event is not
 * about one address by itself, so that what clients have written, which stands behind it and is escaped, is never
 * taken for one.
 */
export function eventLine(event: PolicyEvent): string {
  const address = addressOf(event);
  const head = [event.time, address ?? "-", event.kind, "by" in event ? event.by : event.limit];
  const rest = [
    ...Object.entries(numbersOf(event)),
    ...(address === undefined ? Object.entries(event.whom) : []),
  ];
  return `${[...head, ...rest.map(([name, value]) => `${name}=${escaped(String(value))}`)].join(" ")}\n`;
}

function numbersOf(event: PolicyEvent): Readonly<Record<string, string | number>> {
  switch (event.kind) {
    case "ban":
      return { seconds: event.seconds, times: event.times };
    case "unban":
      return {};
    case "limit":
    case "suspected":
      return { count: event.count, taken: event.taken, points: event.points, then: event.then };
  }
}

/** As in a URL: what is not plain stands as its bytes in UTF-8. */
function escaped(text: string): string {
  return text
    .slice(0, LONGEST)
    .toWellFormed()
    .replace(PLAIN, (sign) =>
      [...Buffer.from(sign)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
    );
}
