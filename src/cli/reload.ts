import { act, askAdmin } from "./ask-admin.ts";

/** `postern reload`: a running gateway takes its configuration anew. 1, and why, when it did not. */
export function reload(file: string): Promise<number> {
  return act(
    () => askAdmin(file, "POST", "/api/v1/reload"),
    ({ body }) => console.log(`reloaded: ${(body["done"] as string[]).join(", ") || "nothing has changed"}`),
  );
}

/** `postern upgrade`: the program that is installed now takes over from the one that runs. */
export function upgrade(file: string): Promise<number> {
  return act(
    () => askAdmin(file, "POST", "/api/v1/upgrade"),
    ({ body }) => console.log(`upgraded: ${(body["done"] as string[]).join(", ")}`),
  );
}
