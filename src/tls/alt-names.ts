import type { X509Certificate } from "node:crypto";

/** One name as Node writes it: values with odd characters, such as commas, are quoted as in JSON. */
const ALT_NAME = /([A-Za-z ]+):(?:"(?:[^"\\]|\\.)*"|([^",]*))(?:, |$)/y;

/**
 * The names of one kind in a certificate's subjectAltName (RFC 5280 4.2.1.6), in lower case. Only plain ones: a name
 * that Node has to quote is no host name and no mail address of ours.
 */
export function altNames(certificate: X509Certificate, kind: "DNS" | "email"): string[] {
  const text = certificate.subjectAltName ?? "";
  const names: string[] = [];
  for (let at = 0; at < text.length; at = ALT_NAME.lastIndex) {
    ALT_NAME.lastIndex = at;
    const match = ALT_NAME.exec(text);
    // Not as Node writes it: whatever is in there is not believed.
    if (!match) return [];
    if (match[1] === kind && match[2]) names.push(match[2].toLowerCase());
  }
  return names;
}

/** The subject's one common name. */
export function commonName(certificate: X509Certificate): string | undefined {
  const { CN } = certificate.toLegacyObject().subject as { CN?: string | string[] };
  return typeof CN === "string" && CN !== "" && !/\p{Cc}/u.test(CN) ? CN : undefined;
}
