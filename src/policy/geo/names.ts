/** Stands for the place of an address that the database does not have, such as one in a private network. */
export const UNKNOWN = "unknown";

const MOST_ASN = 2 ** 32 - 1;

/** A country's two letters as they are compared, or `unknown`; undefined for what is neither. */
export function countryCode(text: string): string | undefined {
  if (text.toLowerCase() === UNKNOWN) return UNKNOWN;
  return /^[a-z]{2}$/i.test(text) ? text.toUpperCase() : undefined;
}

/** `AS64500` of `AS64500`, `as64500`, `64500` and 64500, or `unknown`; undefined for what is neither. */
export function asnName(value: string | number): string | undefined {
  const text = String(value);
  if (text.toLowerCase() === UNKNOWN) return UNKNOWN;
  const [, digits] = /^(?:AS)?([1-9][0-9]{0,9})$/i.exec(text) ?? [];
  return digits !== undefined && Number(digits) <= MOST_ASN ? `AS${digits}` : undefined;
}
