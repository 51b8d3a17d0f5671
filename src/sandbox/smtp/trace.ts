import { randomBytes } from "node:crypto";

/** How a message came here. */
export interface Passage {
  readonly reversePath: string;
  readonly isInternational: boolean;
  readonly hello: { readonly name: string; readonly isExtended: boolean };
  readonly isSecured: boolean;
  readonly isSignedIn: boolean;
  /** Who received it. */
  readonly by: string;
}

/** RFC 5321 4.4: Return-Path and Received, which the last server puts on top of a message. */
export function traceFields(passage: Passage): string {
  const id = randomBytes(6).toString("hex");
  const date = new Date().toUTCString().replace("GMT", "+0000");
  return [
    `Return-Path: <${passage.reversePath}>`,
    `Received: from ${passage.hello.name}`,
    `\tby ${passage.by} with ${protocolName(passage)} id ${id}; ${date}`,
    "",
  ].join("\r\n");
}

/** RFC 3848, and RFC 6531 4.3. */
function protocolName({ isInternational, hello, isSecured, isSignedIn }: Passage): string {
  if (!hello.isExtended) return "SMTP";
  const added = `${isSecured ? "S" : ""}${isSignedIn ? "A" : ""}`;
  return `${isInternational ? "UTF8SMTP" : "ESMTP"}${added}`;
}
