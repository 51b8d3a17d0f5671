import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { within } from "./waiting.ts";

/** What one TLS client has seen of an IMAP listener. */
export interface Visit {
  readonly session: Buffer | undefined;
  readonly resumed: boolean;
  /** The subjectAltNames of the certificate, which a resumed session does not show. */
  readonly names: string | undefined;
}

/** Everything up to a line that begins so. */
async function hear(socket: Socket, beginning: string): Promise<void> {
  let heard = "";
  while (!heard.split("\r\n").some((line) => line.startsWith(beginning))) {
    const [chunk] = (await within(5_000, beginning, once(socket, "data"))) as [Buffer];
    heard += chunk.toString("latin1");
  }
}

/** TLS from the first byte, or after STARTTLS; then a command inside it. */
export async function visit(port: number, tls: ConnectionOptions, startTls: boolean): Promise<Visit> {
  const tcp = connectTcp({ port, host: "127.0.0.1" });
  if (startTls) {
    await hear(tcp, "* OK ");
    tcp.write("a STARTTLS\r\n");
    await hear(tcp, "a OK ");
  }
  const socket = connectTls({ ...tls, socket: tcp });
  let session: Buffer | undefined;
  socket.on("session", (ticket) => {
    session = ticket;
  });
  socket.write("b NOOP\r\n");
  await hear(socket, "b OK ");
  const resumed = socket.isSessionReused();
  const names = socket.getPeerX509Certificate()?.subjectAltName;
  socket.destroy();
  return { session, resumed, names };
}
