import { createHash, randomBytes } from "node:crypto";
import type { Conversation } from "./conversation.ts";

/** A small message, with CRLF lines. */
export function message(subject: string, body = "Nothing else.\r\n"): string {
  return [
    "From: Postmaster <postmaster@example.org>",
    "To: somebody@example.org",
    "Date: Tue, 4 Aug 2026 10:00:00 +0000",
    `Message-ID: <${randomBytes(12).toString("hex")}@example.org>`,
    `Subject: ${subject}`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "",
    body,
  ].join("\r\n");
}

/** A message of about this many bytes, none of it like another part: what is lost, doubled or moved will show. */
export function bigMessage(subject: string, bytes: number): Buffer {
  const text = randomBytes(Math.ceil((bytes * 3) / 4)).toString("base64");
  return Buffer.from(message(subject, `${text.replace(/.{76}/g, "$&\r\n")}\r\n`), "latin1");
}

export function sha256(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** SELECT, and FETCH of one whole message. */
export async function readMessage(client: Conversation, mailbox = "INBOX", index = 1): Promise<Buffer> {
  await client.send(`sel SELECT ${mailbox}`);
  await client.expectUntil("sel OK ");
  await client.send(`get FETCH ${index} BODY.PEEK[]`);
  const line = await client.expect(/^\* \d+ FETCH \(.*BODY\[\] \{\d+\}$/);
  const bytes = await client.readExact(Number(/\{(\d+)\}$/.exec(line)?.[1]));
  await client.expect(")");
  await client.expectUntil("get OK ");
  return bytes;
}

/** SELECT and IDLE, up to the continuation. */
export async function beginIdle(client: Conversation): Promise<void> {
  await client.send("sel SELECT INBOX");
  await client.expectUntil("sel OK ");
  await client.send("idl IDLE");
  await client.expect("+ ");
}
