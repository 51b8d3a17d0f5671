import { ChannelClosed } from "../io/channel.ts";

/** The system's or OpenSSL's words for what went wrong, in one line. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.map(reasonOf).join("; ");
  if (
    error instanceof ChannelClosed &&
    !(error.cause instanceof Error && !(error.cause instanceof ChannelClosed))
  ) {
    return "it closed the connection";
  }
  if (error instanceof ChannelClosed) return reasonOf(error.cause);
  return error instanceof Error ? (error.message.split("\n")[0] ?? error.name) : String(error);
}
