import type { Socket } from "node:net";
import { type HeaderReading, type ProxyHeader, readProxyHeader } from "../wire/proxy-header.ts";

/** What came where a PROXY header belongs. */
export type Arrival =
  | { readonly kind: "header"; readonly header: ProxyHeader }
  /** The first bytes are those of a client. */
  | { readonly kind: "absent" }
  | { readonly kind: "malformed" }
  /** Nothing came, and then it closed: health checks and scans do. */
  | { readonly kind: "left" }
  /** Not all of it came in time. */
  | { readonly kind: "late" };

/**
 * Takes a PROXY header off a connection that nobody has read from yet. What stands behind it is put back, so that
 * whoever reads next finds the client's first byte first.
 */
export function takeHeader(socket: Socket, timeoutMs: number): Promise<Arrival> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const settle = (arrival: Arrival): void => {
      clearTimeout(timer);
      socket.off("readable", onReadable).off("end", onGone).off("close", onGone);
      // An error before somebody else listens ends this connection and nothing else.
      socket.on("error", ignore).off("error", onGone);
      resolve(arrival);
    };
    const onGone = (): void => settle({ kind: bytes.length === 0 ? "left" : "malformed" });
    const onReadable = (): void => {
      for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
        bytes = Buffer.concat([bytes, chunk]);
        const reading = readProxyHeader(bytes);
        if (reading.kind === "more") continue;
        putBack(socket, bytes, reading);
        settle(reading);
        return;
      }
    };
    const timer = setTimeout(() => settle({ kind: "late" }), timeoutMs);
    socket.on("readable", onReadable).on("end", onGone).on("close", onGone).on("error", onGone);
  });
}

const ignore = (): void => {};

function putBack(socket: Socket, bytes: Buffer, reading: HeaderReading): void {
  if (reading.kind === "header" && reading.length < bytes.length)
    socket.unshift(bytes.subarray(reading.length));
}
