import { readFileSync, statSync } from "node:fs";

export type FileText =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly reason: string };

const REASONS: Record<string, string> = {
  ENOENT: "there is no such file",
  ENOTDIR: "a part of the path is not a folder",
  EACCES: "permission denied",
  EPERM: "permission denied",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "the path is too long",
  ERR_INVALID_ARG_VALUE: "the path holds a zero byte",
};

export type FileBytes =
  | { readonly ok: true; readonly bytes: Buffer }
  | { readonly ok: false; readonly reason: string };

/** Reads a regular file of at most `maxBytes` as strict UTF-8; a failure comes back as a reason in words, never thrown. */
export function readTextFile(path: string, maxBytes: number): FileText {
  const file = readFileBytes(path, maxBytes);
  if (!file.ok) return file;
  try {
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true }).decode(file.bytes) };
  } catch (error) {
    return { ok: false, reason: reasonOf(error) };
  }
}

/** The same for a file that is no text. */
export function readFileBytes(path: string, maxBytes: number): FileBytes {
  try {
    const facts = statSync(path);
    if (facts.isDirectory()) return { ok: false, reason: "it is a folder" };
    // A pipe or a device could block the start for ever, or never end.
    if (!facts.isFile()) return { ok: false, reason: "it is not a regular file" };
    if (facts.size > maxBytes) return { ok: false, reason: `it is larger than ${maxBytes} bytes` };
    return { ok: true, bytes: readFileSync(path) };
  } catch (error) {
    return { ok: false, reason: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof TypeError && "code" in error && error.code === "ERR_ENCODING_INVALID_ENCODED_DATA")
    return "it is not UTF-8 text";
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  return REASONS[code] ?? code;
}
