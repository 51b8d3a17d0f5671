/** Who may use which addresses, beside his own name: `alice: [sales@example.org, "@example.net"]`. */
export type SenderMap = ReadonlyMap<string, readonly string[]>;

/**
 * Whether a user may send as an address: it is his own name, or one that the map gives him. "@example.net" and
 * "*@example.net" are every address of a domain, "*" is every address at all.
 */
export function maySendAs(senders: SenderMap, user: string, address: string): boolean {
  const name = user.toLowerCase();
  const wanted = address.toLowerCase();
  if (wanted === name) return true;
  const domain = wanted.slice(wanted.lastIndexOf("@"));
  return (senders.get(name) ?? []).some((pattern) => {
    const given = pattern.toLowerCase();
    return given === wanted || given === "*" || given === domain || given === `*${domain}`;
  });
}
