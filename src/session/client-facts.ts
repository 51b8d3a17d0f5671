import type { ClientFacts } from "./protocol.ts";
import type { Session } from "./session.ts";

/** All that may be told about a session's client; `login` where a backend takes our word for who has signed in. */
export function clientFacts(session: Session, login?: string): ClientFacts {
  const { address, port, local } = session.peer;
  const { tls } = session.channel;
  const hello = session.protocol.helloOf?.(session);
  const device = session.protocol.deviceOf?.(session);
  return {
    address,
    port,
    local,
    session: session.id,
    ...(tls && { tls: tlsFacts(tls) }),
    ...(hello && { hello }),
    ...(device !== undefined && { device }),
    ...(login !== undefined && { login }),
  };
}

type ChannelTls = NonNullable<Session["channel"]["tls"]> & {
  /** A client's certificate; its names are hearsay unless it is verified. */
  readonly client?: { readonly verified?: boolean; readonly commonName?: string };
};

function tlsFacts({
  version,
  cipher,
  serverName,
  alpn,
  client,
}: ChannelTls): NonNullable<ClientFacts["tls"]> {
  return {
    version,
    cipher,
    ...(serverName !== undefined && { serverName }),
    ...(alpn !== undefined && { alpn }),
    ...(client?.verified && client.commonName !== undefined && { commonName: client.commonName }),
  };
}
