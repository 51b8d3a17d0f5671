import type { TestContext } from "node:test";
import { CertificateStore } from "../../src/tls/certificate-store.ts";
import type { ContextSettings } from "../../src/tls/context.ts";
import type { KeyPair } from "../../src/tls/key-pair.ts";
import { TicketSecret } from "../../src/tls/tickets.ts";

/** A store of these certificates, for the time of a test. */
export function storeOf(
  t: TestContext,
  pairs: readonly KeyPair[],
  settings: Partial<ContextSettings> = {},
  tickets = new TicketSecret(),
): CertificateStore {
  t.after(() => tickets[Symbol.dispose]());
  const store = new CertificateStore(tickets, { profile: "intermediate", ...settings });
  store.setPairs("files", pairs);
  return store;
}
