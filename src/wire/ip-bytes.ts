const OCTET = /^(?:0|[1-9][0-9]{0,2})$/;
const GROUP = /^[0-9A-Fa-f]{1,4}$/;
/** RFC 4291 2.5.5.2: what stands before an IPv4 address that is written as an IPv6 one. */
const MAPPED = Buffer.from("00000000000000000000ffff", "hex");

/** The bytes of a textual address, 4 or 16; a zone behind "%" is this machine's own and is left out. */
export function ipBytes(text: string): Buffer | undefined {
  const [address = ""] = text.split("%");
  return address.includes(":") ? ipv6Bytes(address) : ipv4Bytes(address);
}

/** An address of 16 bytes, whatever it was. */
export function asIpv6(bytes: Buffer): Buffer {
  return bytes.length === 4 ? Buffer.concat([MAPPED, bytes]) : bytes;
}

/** The four bytes of an IPv4 address that is written as an IPv6 one; of any other, the bytes that it has. */
export function unmappedBytes(bytes: Buffer): Buffer {
  return bytes.length === 16 && bytes.subarray(0, 12).equals(MAPPED) ? bytes.subarray(12) : bytes;
}

function ipv4Bytes(text: string): Buffer | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => OCTET.test(part) && Number(part) < 256)) return undefined;
  return Buffer.from(parts.map(Number));
}

function ipv6Bytes(text: string): Buffer | undefined {
  const halves = text.split("::").map(groupBytes);
  const [head, tail] = halves;
  if (!head || halves.length > 2) return undefined;
  if (halves.length === 1) return head.length === 16 ? head : undefined;
  if (!tail || head.length + tail.length > 14) return undefined;
  return Buffer.concat([head, Buffer.alloc(16 - head.length - tail.length), tail]);
}

/** One side of "::"; an IPv4 address may be its end. */
function groupBytes(text: string): Buffer | undefined {
  if (text === "") return Buffer.alloc(0);
  const groups = text.split(":");
  const last = groups.at(-1) ?? "";
  const ipv4 = last.includes(".") ? ipv4Bytes(last) : undefined;
  const plain = ipv4 ? groups.slice(0, -1) : groups;
  if (!plain.every((group) => GROUP.test(group))) return undefined;
  const bytes = plain.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]);
  return Buffer.from(ipv4 ? [...bytes, ...ipv4] : bytes);
}
