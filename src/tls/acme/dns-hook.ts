import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Challenger, Proof } from "./challenge.ts";
import { printable } from "./line.ts";

/** A hook may wait until its record can be seen, but not for ever. In milliseconds. */
const PRESENT_MS = 5 * 60_000;
/** The gateway's stop waits for this one. */
const CLEANUP_MS = 30_000;
const MAX_STDERR = 16 * 1024;

export interface DnsHookOptions {
  /** The program and what comes before our own arguments. */
  readonly command: readonly string[];
  /** Hears what the program writes to its standard error, line by line. */
  readonly said: (line: string) => void;
  readonly timeoutMs?: number;
}

/**
 * dns-01 by a program of the operator's. It is run without a shell as `PROGRAM … present|cleanup DOMAIN RECORD VALUE`;
 * when `present` ends with 0, the TXT record must be there for everyone to see.
 */
export function dnsHook(options: DnsHookOptions): Challenger {
  const { timeoutMs = PRESENT_MS } = options;
  return {
    type: "dns-01",
    async present(proof, stop) {
      // Also after a failure: what a hook leaves behind half-way is its own to clear as well.
      const cleanup = () =>
        runHook(options, "cleanup", proof, AbortSignal.timeout(Math.min(timeoutMs, CLEANUP_MS)))
          // A record too many harms nobody: it must not cost the certificate.
          .catch((error: Error) => options.said(error.message));
      try {
        await runHook(options, "present", proof, AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)]));
      } catch (error) {
        await cleanup();
        throw error;
      }
      return { [Symbol.asyncDispose]: cleanup };
    },
  };
}

async function runHook(
  { command, said }: DnsHookOptions,
  action: "present" | "cleanup",
  { domain, keyAuthorization }: Proof,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  // RFC 8555 8.4; a wildcard's authorization names the domain without its star (7.1.4).
  const record = `_acme-challenge.${domain}`;
  const [program = "", ...args] = command;
  const child = spawn(program, [...args, action, domain, record, keyAuthorization], {
    stdio: ["ignore", "ignore", "pipe"],
    // A group of its own, so that what the hook has started ends with it.
    detached: true,
  });
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    words = (words + chunk).slice(0, MAX_STDERR);
  });
  const kill = () => killGroup(child.pid);
  const giveUp = () => {
    kill();
    child.stderr.destroy();
  };
  child.once("exit", kill);
  signal.addEventListener("abort", giveUp);
  try {
    const [code, killedBy] = await once(child, "close");
    for (const line of words.split("\n").filter(Boolean)) said(printable(line));
    if (signal.aborted) throw new Error(`dnsHook ${action}: took too long`);
    if (code !== 0) throw new Error(`dnsHook ${action}: ended with ${killedBy ?? `code ${code}`}`);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
    throw code === undefined ? error : new Error(`dnsHook cannot be run: ${code}`, { cause: error });
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
