import { createHash } from "node:crypto";

/** A Lua script, which Redis runs as one step. */
export interface Script {
  readonly name: string;
  readonly lua: string;
  /** What EVALSHA knows it by. */
  readonly sha: string;
}

export function script(name: string, lua: string): Script {
  return { name, lua, sha: createHash("sha1").update(lua).digest("hex") };
}
