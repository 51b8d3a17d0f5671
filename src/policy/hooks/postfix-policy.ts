import { Refused } from "../../refusal.ts";
import { formatPolicyAttributes } from "../../wire/policy-attributes.ts";
import { readAction } from "./action.ts";
import {
  ALLOW,
  type Answer,
  type Hook,
  HookFailure,
  type HookObserver,
  type Mail,
  type MailStage,
} from "./hook.ts";
import { PolicyLines, type PolicyServer } from "./policy-lines.ts";

export interface PostfixPolicyOptions {
  readonly name: string;
  readonly server: PolicyServer;
  readonly stages: readonly MailStage[];
  readonly timeoutMs: number;
}

/** Asks a server that speaks Postfix's policy delegation protocol (SMTPD_POLICY_README). */
export class PostfixPolicyHook implements Hook {
  readonly mail: NonNullable<Hook["mail"]>;
  readonly #name: string;
  readonly #lines: PolicyLines;
  readonly #observer: HookObserver;

  constructor({ name, server, stages, timeoutMs }: PostfixPolicyOptions, observer: HookObserver) {
    this.#name = name;
    this.#lines = new PolicyLines(server, timeoutMs);
    this.#observer = observer;
    this.mail = { stages: new Set(stages), ask: (stage, mail) => this.#ask(stage, mail) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lines[Symbol.asyncDispose]();
  }

  async #ask(stage: MailStage, mail: Mail): Promise<Answer> {
    const answer = await this.#lines.ask(formatPolicyAttributes(attributesOf(stage, mail)));
    const said = answer.get("action");
    const action = said === undefined ? undefined : readAction(said);
    if (!action) throw new HookFailure("malformed", "an answer without an action that is known");
    switch (action.kind) {
      case "go on":
        return ALLOW;
      case "note":
        this.#observer.noted(this.#name, mail.caller, mail.facts, action.text);
        return ALLOW;
      case "notDone":
        this.#observer.notDone(this.#name, action.action);
        return ALLOW;
      case "refuse": {
        const { told } = action;
        const detail = `hook ${this.#name} says ${told.code} ${told.enhanced} ${told.text}`;
        return { kind: "refuse", refused: new Refused("mailRefused", detail, { told }) };
      }
    }
  }
}

const STATES: Readonly<Record<MailStage, string>> = { rcpt: "RCPT", data: "DATA" };

/** In Postfix's order, and all that it always sends; what nobody knows is empty, a name without look-up `unknown`. */
function attributesOf(
  stage: MailStage,
  { caller, facts, mail }: Mail,
): readonly (readonly [string, string])[] {
  const { hello, tls } = caller;
  return [
    ["request", "smtpd_access_policy"],
    ["protocol_state", STATES[stage]],
    ["protocol_name", hello?.extended === false ? "SMTP" : "ESMTP"],
    ["client_address", caller.address],
    ["client_name", "unknown"],
    ["client_port", String(caller.port)],
    ["reverse_client_name", "unknown"],
    ["server_address", caller.local.address],
    ["server_port", String(caller.local.port)],
    ["helo_name", hello?.name ?? ""],
    ["sender", mail.sender],
    ["recipient", mail.recipient ?? ""],
    // SMTPD_POLICY_README: zero until all recipients are known.
    ["recipient_count", String(stage === "data" ? mail.recipients : 0)],
    ["queue_id", ""],
    ["instance", mail.instance],
    ["size", String(mail.size)],
    ["etrn_domain", ""],
    ["stress", ""],
    ["sasl_method", facts.user === undefined ? "" : (caller.mechanism ?? "")],
    ["sasl_username", facts.user ?? ""],
    ["sasl_sender", ""],
    ["ccert_subject", tls?.commonName ?? ""],
    ["ccert_issuer", ""],
    ["ccert_fingerprint", ""],
    ["ccert_pubkey_fingerprint", ""],
    ["encryption_protocol", tls?.version ?? ""],
    ["encryption_cipher", tls?.cipher ?? ""],
    ["encryption_keysize", tls ? keyBits(tls.cipher) : "0"],
    ["policy_context", ""],
    ["tls_sni", tls?.serverName ?? ""],
  ];
}

/** OpenSSL's names say it, but for ChaCha20, which has 256 always. */
function keyBits(cipher: string): string {
  return /AES[_-]?(128|256)/.exec(cipher)?.[1] ?? (cipher.includes("CHACHA20") ? "256" : "0");
}
