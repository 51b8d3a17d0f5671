import { globSync } from "node:fs";
import type { TemporaryFolder } from "./temp.ts";

/** Where Debian puts it, whatever the machine. */
const [LIBRARY = "libfaketime is not installed: run test/setup"] = globSync(
  "/usr/lib/*/faketime/libfaketime.so.1",
);

/** A wall clock that a process is lied to about. Its monotonic clock stays as it is, as when somebody sets the time. */
export interface FakeClock {
  readonly env: NodeJS.ProcessEnv;
  /** How far ahead it is, such as `+1h` or `-1h`. */
  set(ahead: string): Promise<unknown>;
}

export async function fakeClock(folder: TemporaryFolder, ahead = "+0"): Promise<FakeClock> {
  const set = (to: string) => folder.write("faketime", to);
  await set(ahead);
  return {
    env: {
      LD_PRELOAD: LIBRARY,
      FAKETIME_TIMESTAMP_FILE: folder.at("faketime"),
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    },
    set,
  };
}
