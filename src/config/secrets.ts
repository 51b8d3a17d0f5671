import { resolve } from "node:path";
import { readTextFile } from "./files.ts";

/** A secret as it stands in the file: the text itself, or where to find it. */
export type SecretSource = string | { readonly file: string } | { readonly env: string };

export type SecretResult =
  | { readonly ok: true; readonly secret: string }
  | { readonly ok: false; readonly reason: string };

const MAX_SECRET_BYTES = 64 * 1024;

/** Fetches a secret; a file's path is relative to `folder`. What fails comes back as a reason that never holds the secret. */
export function readSecret(source: SecretSource, folder: string, env: NodeJS.ProcessEnv): SecretResult {
  if (typeof source === "string") return { ok: true, secret: source };
  return "env" in source ? fromEnvironment(source.env, env) : fromFile(resolve(folder, source.file));
}

function fromEnvironment(name: string, env: NodeJS.ProcessEnv): SecretResult {
  const secret = Object.hasOwn(env, name) ? env[name] : undefined;
  if (secret === undefined) return { ok: false, reason: "this environment variable is not set" };
  return secret === "" ? { ok: false, reason: "this environment variable is empty" } : { ok: true, secret };
}

function fromFile(path: string): SecretResult {
  const file = readTextFile(path, MAX_SECRET_BYTES);
  if (!file.ok) return { ok: false, reason: `the secret's file cannot be read: ${file.reason}` };
  // Editors and `echo` end a file with a newline that is no part of the password.
  const secret = file.text.replace(/\r?\n$/, "");
  return secret === "" ? { ok: false, reason: "the secret's file is empty" } : { ok: true, secret };
}
