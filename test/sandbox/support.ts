import type { TestContext } from "node:test";
import { type Sandbox, type SandboxOptions, startSandbox } from "../../src/sandbox/sandbox.ts";
import { type Conversation, connect } from "../support/conversation.ts";

/** A sandbox with alice and bob that ends with the test, and fails it if a session failed inside. */
export async function sandboxFor(t: TestContext, options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  const faults: unknown[] = [];
  const sandbox = await startSandbox({
    name: "north",
    accounts: [
      { name: "alice", password: "wonder" },
      { name: "bob", password: "builder" },
    ],
    onFault: (error) => faults.push(error),
    ...options,
  });
  t.after(async () => {
    await sandbox.close();
    if (faults.length > 0) throw new AggregateError(faults, "a session failed inside");
  });
  return sandbox;
}

/** A conversation that counts its tags. */
export class ImapConversation {
  readonly wire: Conversation;
  #tags = 0;

  constructor(wire: Conversation) {
    this.wire = wire;
  }

  /** All lines up to the tagged response, whose tag then reads `tag`. */
  async send(command: string): Promise<string[]> {
    const tag = `t${++this.#tags}`;
    await this.wire.send(`${tag} ${command}`);
    const lines = await this.wire.expectUntil(`${tag} `);
    return [...lines.slice(0, -1), (lines.at(-1) ?? "").replace(tag, "tag")];
  }

  /** For a command that must succeed; only the untagged lines. */
  async ok(command: string): Promise<string[]> {
    const lines = await this.send(command);
    const last = lines.pop();
    if (!last?.startsWith("tag OK")) throw new Error(`${last}\n${this.wire.transcript()}`);
    return lines;
  }

  /** For a command of which only the tagged response matters. */
  async tagged(command: string): Promise<string> {
    return (await this.send(command)).at(-1) ?? "";
  }
}

/** Connected and greeted. */
export async function greeted(t: TestContext, sandbox: Sandbox): Promise<ImapConversation> {
  const wire = await connect({ port: sandbox.imapPort });
  t.after(() => wire[Symbol.asyncDispose]());
  await wire.expect("* OK [CAPABILITY IMAP4rev1 ");
  return new ImapConversation(wire);
}

export async function signedIn(t: TestContext, sandbox: Sandbox, user = "alice"): Promise<ImapConversation> {
  const client = await greeted(t, sandbox);
  await client.ok(`LOGIN ${user} ${user === "alice" ? "wonder" : "builder"}`);
  return client;
}

/** Alice, with her INBOX selected. */
export async function selected(t: TestContext, sandbox: Sandbox): Promise<ImapConversation> {
  const client = await signedIn(t, sandbox);
  await client.ok("SELECT INBOX");
  return client;
}

/** Puts messages into alice's INBOX, each with its number as subject. */
export function fillInbox(sandbox: Sandbox, count: number): void {
  for (let number = 1; number <= count; number++) {
    const mail = `Subject: ${number}\r\n\r\nbody ${number}\r\n`;
    sandbox.store.account("alice")?.inbox.append(Buffer.from(mail), [], new Date("2026-07-07T12:00:00Z"));
  }
}
