import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/schema.ts";
import { openSocketFile, type SocketFile, type SocketPlace } from "../listen/socket-file.ts";
import type { Change, Place } from "./listeners.ts";

/** Stands among the names of listeners; none of those has a slash. */
export const POLICY_PORT = "policy/serve";

/** Where clients connect, and where Postfix does, by TCP. */
export function placesOf({ listeners, policy: { serve } }: Config): readonly Place[] {
  if (serve?.port === undefined) return listeners;
  return [...listeners, { name: POLICY_PORT, host: serve.host, port: serve.port }];
}

/** The unix socket at which Postfix may ask, if there is one. */
export class PolicySocket {
  readonly #take: (socket: Socket) => void;
  #place: SocketPlace | undefined;
  #file: SocketFile | undefined;

  constructor(take: (socket: Socket) => void) {
    this.#take = (socket) => take(socket.on("error", () => {}));
  }

  /** Opens what is not open yet. Throws BindError, and then nothing has changed. `replaces`: also what is another's. */
  async change({ policy: { serve } }: Config, replaces: boolean): Promise<Change> {
    const place =
      serve?.socket === undefined ? undefined : { path: serve.socket, mode: serve.mode, group: serve.group };
    if (isDeepStrictEqual(place, this.#place)) return { commit() {}, undo() {} };
    const ours = place !== undefined && place.path === this.#place?.path;
    const file = place && (await openSocketFile(place, replaces || ours, this.#take));
    return {
      commit: () => {
        file?.show();
        this.close();
        this.#file = file;
        this.#place = place;
      },
      undo: () => file?.close(),
    };
  }

  /** Puts it back where a successor has taken its place and come to nothing. */
  async restore(config: Config): Promise<void> {
    if (!this.#file || this.#file.isThere()) return;
    this.close();
    (await this.change(config, true)).commit();
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
    this.#place = undefined;
  }
}

/** Both or none. */
export function both(one: Change, other: Change): Change {
  return {
    commit() {
      one.commit();
      other.commit();
    },
    undo() {
      one.undo();
      other.undo();
    },
  };
}
