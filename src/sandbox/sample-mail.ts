import { crc32, deflateSync } from "node:zlib";
import type { Account } from "./account.ts";
import type { MailStore } from "./mail-store.ts";

const HOUR = 60 * 60 * 1000;

interface Letter {
  readonly to: string;
  readonly from: string;
  readonly subject: string;
  /** Content-Type and whatever else the body needs, then a blank line and the body. */
  readonly content: readonly string[];
  readonly hoursAgo: number;
  readonly flags?: readonly string[];
}

/** A few letters for a person who tries the demo; one of them says which backend holds the mailbox. */
export function fillWithSampleMail(store: MailStore, accountName: string, backendName: string): void {
  const account = store.account(accountName);
  if (!account) throw new Error(`there is no account ${accountName}`);
  const to = accountName.includes("@") ? accountName : `${accountName}@postern.example`;
  deliver(account, "INBOX", picture(to));
  deliver(account, "INBOX", harbour(to));
  deliver(account, "INBOX", welcome(to, backendName));
  deliver(account, "Sent", reply(to));
}

function deliver(account: Account, mailbox: string, letter: Letter): void {
  const date = new Date(Date.now() - letter.hoursAgo * HOUR);
  const lines = [
    `Date: ${date.toUTCString().replace("GMT", "+0000")}`,
    `From: ${letter.from}`,
    `To: ${letter.to}`,
    `Subject: ${letter.subject}`,
    `Message-ID: <${date.getTime().toString(36)}.${letter.hoursAgo}@postern.example>`,
    "MIME-Version: 1.0",
    ...letter.content,
  ];
  account.get(mailbox).append(Buffer.from(`${lines.join("\r\n")}\r\n`), letter.flags, date);
}

function welcome(to: string, backendName: string): Letter {
  return {
    to,
    from: "Postern <gatekeeper@postern.example>",
    subject: `Your mailbox lives on ${backendName}`,
    hoursAgo: 1,
    content: [
      "Content-Type: text/plain; charset=utf-8",
      "",
      "Hello,",
      "",
      `you came in by the one guarded door, and it led you to ${backendName}.`,
      "Sign in as somebody else, and the same door may lead to another server:",
      "the gateway looks at who you are, not at where you knocked.",
      "",
      "Nothing here outlives the demo. Delete, move and flag what you like.",
      "",
      "Postern",
    ],
  };
}

function harbour(to: string): Letter {
  return {
    to,
    from: "=?utf-8?Q?Zo=C3=AB_at_the_harbour?= <zoe@harbour.example>",
    subject: "=?utf-8?Q?Gr=C3=BC=C3=9Fe_from_the_caf=C3=A9_=E2=9A=93?=",
    hoursAgo: 26,
    content: [
      'Content-Type: multipart/alternative; boundary="two-ways-to-say-it"',
      "",
      "--two-ways-to-say-it",
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: quoted-printable",
      "",
      "The caf=C3=A9 by the quay has reopened. Breakfast is 7 =E2=82=AC, the view of =",
      "the boats costs nothing.",
      "",
      "Gr=C3=BC=C3=9Fe, Zo=C3=AB",
      "",
      "--two-ways-to-say-it",
      "Content-Type: text/html; charset=utf-8",
      "Content-Transfer-Encoding: quoted-printable",
      "",
      "<p>The caf=C3=A9 by the quay has reopened. Breakfast is <b>7 =E2=82=AC</b>, the =",
      "view of the boats costs nothing.</p>",
      "<p>Gr=C3=BC=C3=9Fe, Zo=C3=AB</p>",
      "",
      "--two-ways-to-say-it--",
    ],
  };
}

function picture(to: string): Letter {
  return {
    to,
    from: "Bram <bram@harbour.example>",
    subject: "A very small picture",
    hoursAgo: 50,
    flags: ["\\Seen", "\\Flagged"],
    content: [
      'Content-Type: multipart/mixed; boundary="letter-and-picture"',
      "",
      "--letter-and-picture",
      "Content-Type: text/plain; charset=us-ascii",
      "",
      "Enclosed is a sunset. Sixteen pixels a side is all the paint I had.",
      "",
      "--letter-and-picture",
      'Content-Type: image/png; name="sunset.png"',
      'Content-Disposition: attachment; filename="sunset.png"',
      "Content-Transfer-Encoding: base64",
      "",
      ...base64Lines(paintSunset(16)),
      "--letter-and-picture--",
    ],
  };
}

function reply(self: string): Letter {
  return {
    to: "Bram <bram@harbour.example>",
    from: self,
    subject: "Re: A very small picture",
    hoursAgo: 49,
    flags: ["\\Seen"],
    content: [
      "Content-Type: text/plain; charset=us-ascii",
      "",
      "It hangs over the fireplace now. One has to stand close.",
    ],
  };
}

function base64Lines(bytes: Buffer): string[] {
  return bytes.toString("base64").match(/.{1,76}/g) ?? [];
}

/** A PNG (RFC 2083) of 8-bit RGB, from orange above to violet below. */
function paintSunset(side: number): Buffer {
  const rows = Array.from({ length: side }, (_, y) => {
    const shade = y / (side - 1);
    const pixel = [255 - 150 * shade, 150 - 120 * shade, 40 + 100 * shade].map(Math.round);
    // Each row begins with its filter type, here none.
    return Buffer.from([0, ...Array.from({ length: side }, () => pixel).flat()]);
  });
  const size = Buffer.alloc(8);
  size.writeUInt32BE(side, 0);
  size.writeUInt32BE(side, 4);
  const header = Buffer.concat([size, Buffer.from([8, 2, 0, 0, 0])]);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    pngChunk("IHDR", header),
    pngChunk("IDAT", deflateSync(Buffer.concat(rows))),
    pngChunk("IEND", Buffer.alloc(0)),
  ]);
}

function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}
