import type { Session } from "../../session/session.ts";
import { canStartTls, needsPrivacy } from "../before-login.ts";
import { type Envelope, parseCount } from "./grammar.ts";

/** RFC 2920, 6152, 6531, 3461, 2034, 3030: what Postern carries when the backend takes it. */
const CARRIED = ["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING"] as const;

/** Parameters of MAIL and RCPT, and the extension that brings each. */
const PARAMETERS: Readonly<Record<string, string>> = {
  SIZE: "SIZE",
  BODY: "8BITMIME",
  SMTPUTF8: "SMTPUTF8",
  RET: "DSN",
  ENVID: "DSN",
  NOTIFY: "DSN",
  ORCPT: "DSN",
  AUTH: "AUTH",
};

/** What a backend offers, from the lines of its EHLO reply behind the first. */
export class Extensions {
  readonly #lines: ReadonlyMap<string, string>;

  constructor(lines: readonly string[]) {
    this.#lines = new Map(
      lines.map((line) => {
        const [name = "", ...rest] = line.trim().split(/[ =]/);
        return [name.toUpperCase(), rest.join(" ")];
      }),
    );
  }

  has(name: string): boolean {
    return this.#lines.has(name);
  }

  /** SASL mechanisms, upper case. */
  get mechanisms(): readonly string[] {
    return this.#lines.get("AUTH")?.toUpperCase().split(" ") ?? [];
  }

  /** What XCLIENT takes; undefined where it is not offered to us. */
  get xclient(): readonly string[] | undefined {
    return this.#lines.get("XCLIENT")?.toUpperCase().split(" ").filter(Boolean);
  }

  /** RFC 1870: bytes that a message may have; undefined where the backend names none. */
  get maxSize(): number | undefined {
    const size = parseCount(this.#lines.get("SIZE"));
    return size === 0 ? undefined : size;
  }

  /** Whether every parameter of an envelope is one that the backend takes. */
  takes({ parameters }: Envelope): boolean {
    return parameters.every(({ name, value }) => {
      if (name === "BODY" && value?.toUpperCase() === "BINARYMIME") return false;
      const extension = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined;
      return extension !== undefined && this.has(extension);
    });
  }
}

/** The first line of a session, and the first again behind XCLIENT. */
export function greeting(session: Session): string {
  return `220 ${session.frontend.hostname} ESMTP\r\n`;
}

/** The lines of our EHLO reply, in the session's present state, for these backends. */
export function ehloLines(
  session: Session,
  backends: readonly Extensions[],
  offer: { auth: boolean; startTls: boolean },
): string[] {
  const { frontend } = session;
  const carried = CARRIED.filter(
    (name) => backends.length > 0 && backends.every((backend) => backend.has(name)),
  );
  const size = backends.length > 0 && backends.every((backend) => backend.has("SIZE"));
  const mechanisms = offer.auth && !needsPrivacy(session) ? session.mechanisms : [];
  const auth = mechanisms.length > 0 ? [`AUTH ${mechanisms.join(" ")}`] : [];
  const startTls = offer.startTls && canStartTls(session) ? ["STARTTLS"] : [];
  return [
    frontend.hostname,
    ...carried,
    ...(size ? [`SIZE ${maxSize(session, backends)}`] : []),
    ...startTls,
    ...auth,
  ];
}

/** The smaller of ours and theirs, in bytes. */
export function maxSize(session: Session, backends: readonly Extensions[]): number {
  return Math.min(
    session.frontend.content.maxMessageSize,
    ...backends.map((backend) => backend.maxSize ?? Infinity),
  );
}
