/**
 * What a test leaves behind when it fails half-way: children and folders are handed in here and cleared away
 * as the process ends, whatever ended it. SIGKILL alone is not seen; children then die by their parent-death signal.
 */
const pending = new Set<() => void>();
let watching = false;

/** Runs `clear` as the process exits, unless the returned function has taken it back. It must be synchronous. */
export function clearAtExit(clear: () => void): () => void {
  watch();
  pending.add(clear);
  return () => pending.delete(clear);
}

function watch(): void {
  if (watching) return;
  watching = true;
  process.once("exit", () => {
    // Newest first: children before the folders they write to.
    for (const clear of [...pending].reverse()) {
      try {
        clear();
      } catch (error) {
        console.error("clearing up after the tests:", error);
      }
    }
  });
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.once(signal, () => process.exit(code));
  }
}
