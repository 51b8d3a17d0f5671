const STRICT = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * RFC 4648 section 4, strictly: the standard alphabet, whole groups, padding only where it belongs and no
 * bits hidden behind it. Undefined for anything else; Node's own decoder accepts nearly everything.
 */
export function decodeBase64(text: string): Buffer | undefined {
  if (!STRICT.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}
