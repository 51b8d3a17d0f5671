import type { Server, Socket } from "node:net";
import type { ListenerConfig } from "../config/schema.ts";
import { type Bound, listenAt } from "../listen/listener.ts";

/** One listening socket. A reload can give it another name and other settings. */
interface Held {
  name: string;
  /** Undefined until it listens. */
  bound: Bound | undefined;
  /** Rejects with BindError. */
  readonly listening: Promise<void>;
  /** Whether its name means something to those who carry sessions; until then its connections wait. */
  known: boolean;
  readonly early: Socket[];
}

/** Where to listen, and how it is called. */
export type Place = Pick<ListenerConfig, "name" | "port" | "host">;

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
  /** Taken over from another process, and not known to be wanted yet. */
  readonly #inherited = new Map<string, Held>();

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  get bound(): readonly Bound[] {
    return [...this.#held.values()].flatMap(({ name, bound }) => (bound ? { ...bound, name } : []));
  }

  /** The sockets, for a process that takes over. */
  get servers(): ReadonlyMap<string, Server> {
    return new Map(
      [...this.#held].flatMap(([address, { bound }]) => (bound ? [[address, bound.server]] : [])),
    );
  }

  /** Listens on in another process's place; whoever comes waits until it is known what for. */
  adopt(address: string, server: Server): void {
    const held = this.#hold({ name: address, port: 0 }, server);
    this.#inherited.set(address, held);
  }

  /** The same, for a listener that is known. */
  adoptFor(listener: ListenerConfig, server: Server): void {
    this.adopt(addressOf(listener), server);
  }

  /** Binds what is not bound yet. Throws BindError, and then nothing has changed. */
  async change(wanted: readonly Place[]): Promise<Change> {
    const next = new Map<string, Held>();
    const opened: Held[] = [];
    const close = (some: Iterable<Held>): void => {
      for (const held of some) this.#close(held);
    };
    try {
      for (const listener of wanted) {
        const address = addressOf(listener);
        const known = this.#held.get(address) ?? this.#inherited.get(address);
        const held = known ?? this.#hold(listener);
        if (!known) opened.push(held);
        next.set(address, held);
        await held.listening;
      }
    } catch (error) {
      close(opened);
      throw error;
    }
    return {
      commit: () => {
        close([...this.#held].filter(([address]) => !next.has(address)).map(([, held]) => held));
        close([...this.#inherited].filter(([address]) => !next.has(address)).map(([, held]) => held));
        this.#inherited.clear();
        this.#held = next;
        for (const listener of wanted) this.#name(next.get(addressOf(listener)), listener.name);
      },
      undo: () => close(opened),
    };
  }

  /** Stops accepting, everywhere; what has been accepted goes on. */
  close(): void {
    for (const held of [...this.#held.values(), ...this.#inherited.values()]) this.#close(held);
    this.#held.clear();
    this.#inherited.clear();
  }

  #hold(listener: Place, inherited?: Server): Held {
    const { untouched, take } = this.#options;
    const early: Socket[] = [];
    const { name, port, host } = listener;
    const options = { name, port, ...(host !== undefined && { host }), untouched };
    const listening = listenAt({ ...options, ...(inherited && { inherited }) }, (socket) => {
      if (held.known) take(held.name, socket);
      else early.push(socket);
    }).then((bound) => {
      held.bound = bound;
    });
    const held: Held = { name: listener.name, known: false, early, listening, bound: undefined };
    // Heard of where it is waited for.
    listening.catch(() => {});
    return held;
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
    void bound?.close();
  }
}

/** What makes two listeners one socket. Those that take any free port are told apart by their names. */
function addressOf({ host, port, name }: Place): string {
  return JSON.stringify([host ?? "", port, ...(port === 0 ? [name] : [])]);
}
