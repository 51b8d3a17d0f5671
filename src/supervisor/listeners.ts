import type { Server, Socket } from "node:net";
import type { ListenerConfig } from "../config/schema.ts";
import { type Bound, listenAt } from "../listen/listener.ts";

/** Listening sockets that another process had before, by their address. */
export type Inherited = ReadonlyMap<string, Server>;

/** One listening socket. A reload can give it another name and other settings. */
interface Held {
  name: string;
  bound: Bound;
  /** Whether its name means something to those who carry sessions; until then its connections wait. */
  known: boolean;
  readonly early: Socket[];
}

/** A change of listeners: everything new is bound already, and nothing has changed yet. */
export interface Change {
  commit(): void;
  undo(): void;
}

export interface ListenersOptions {
  readonly take: (listener: string, socket: Socket) => void;
  /** Leaves connections unread, for another process to read them. */
  readonly untouched: boolean;
}

/** All listening sockets of the gateway. They live as long as it does, whatever becomes of those behind them. */
export class Listeners {
  readonly #options: ListenersOptions;
  #held = new Map<string, Held>();

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  get bound(): readonly Bound[] {
    return [...this.#held.values()].map(({ name, bound }) => ({ ...bound, name }));
  }

  /** The sockets, for a process that takes over. */
  get servers(): ReadonlyMap<string, Server> {
    return new Map([...this.#held].map(([address, { bound }]) => [address, bound.server]));
  }

  /** Binds what is not bound yet. Throws BindError, and then nothing has changed. */
  async change(wanted: readonly ListenerConfig[], inherited: Inherited = new Map()): Promise<Change> {
    const next = new Map<string, Held>();
    const opened: Held[] = [];
    const close = (some: Iterable<Held>): void => {
      for (const held of some) this.#close(held);
    };
    try {
      for (const listener of wanted) {
        const address = addressOf(listener);
        const held = this.#held.get(address) ?? (await this.#open(listener, inherited.get(address)));
        if (!this.#held.has(address)) opened.push(held);
        next.set(address, held);
      }
    } catch (error) {
      close(opened);
      throw error;
    }
    return {
      commit: () => {
        close([...this.#held].filter(([address]) => !next.has(address)).map(([, held]) => held));
        this.#held = next;
        for (const listener of wanted) this.#name(next.get(addressOf(listener)), listener.name);
      },
      undo: () => close(opened),
    };
  }

  /** Stops accepting, everywhere; what has been accepted goes on. */
  close(): void {
    for (const held of this.#held.values()) this.#close(held);
    this.#held.clear();
  }

  async #open(listener: ListenerConfig, inherited: Server | undefined): Promise<Held> {
    const early: Socket[] = [];
    const options = {
      ...listener,
      untouched: this.#options.untouched,
      ...(inherited && { inherited }),
    };
    const held: Partial<Held> = { name: listener.name, known: false, early };
    held.bound = await listenAt(options, (socket) => {
      if (held.known) this.#options.take(held.name as string, socket);
      else early.push(socket);
    });
    return held as Held;
  }

  #name(held: Held | undefined, name: string): void {
    if (!held) return;
    held.name = name;
    held.known = true;
    for (const socket of held.early.splice(0)) this.#options.take(name, socket);
  }

  #close({ bound, early }: Held): void {
    for (const socket of early.splice(0)) socket.destroy();
    // Not waited for: the socket is closed at once, and only those accepted from it live on.
    void bound.close();
  }
}

/** What makes two listeners one socket. Those that take any free port are told apart by their names. */
function addressOf({ host, port, name }: ListenerConfig): string {
  return JSON.stringify([host ?? "", port, ...(port === 0 ? [name] : [])]);
}
