import { AsyncLocalStorage } from "node:async_hooks";
import type { AuthorityLine } from "./line.ts";

type Library = typeof import("acme-client");

let loaded: Promise<Library> | undefined;
const current = new AsyncLocalStorage<AuthorityLine>();

/** The door to acme-client, opened when first needed: a gateway without ACME does not carry it. */
export function loadLibrary(): Promise<Library> {
  loaded ??= import("acme-client").then((library) => {
    // The library has one HTTP client for everybody, without time limits, that sleeps and repeats by itself where
    // nobody can end it. With this adapter every request goes over the line of the order that it belongs to.
    library.axios.defaults.adapter = async (config) => {
      const line = current.getStore();
      if (!line) throw new Error("a request to an authority outside an order");
      const { status, headers, body } = await line.request({
        url: String(config.url),
        method: String(config.method).toUpperCase(),
        headers: Object.fromEntries(
          Object.entries(config.headers).map(([name, value]) => [name, String(value)]),
        ),
        ...(typeof config.data === "string" && { body: config.data }),
      });
      return { status, statusText: "", headers, data: body, config };
    };
    return library;
  });
  return loaded;
}

/** Runs `work` with all that the library asks an authority going over `line`. */
export function speakOver<Result>(line: AuthorityLine, work: () => Promise<Result>): Promise<Result> {
  return current.run(line, work);
}
