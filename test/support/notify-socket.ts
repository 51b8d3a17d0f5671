import { type RunningProcess, startProcess } from "./processes.ts";
import { eventually } from "./waiting.ts";

/** What systemd would listen on: one datagram a line, and at once letting go of those who wait until it has read. */
const LISTENER = `
import array, json, os, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(sys.argv[1].replace("@", "\\0", 1))
print("listening", flush=True)
while True:
    message, ancillary, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(4))
    for _, _, data in ancillary:
        for descriptor in array.array("i", data):
            os.close(descriptor)
    if message != b"BARRIER=1":
        print(json.dumps(message.decode()), flush=True)
`;

/** A datagram as its assignments. */
export type Told = Readonly<Record<string, string>>;

export interface NotifySocket extends AsyncDisposable {
  /** For $NOTIFY_SOCKET. */
  readonly name: string;
  /** Everything it was told so far. */
  told(): Told[];
  /** Waits for a datagram that fits. */
  hears(what: string, fits: (told: Told) => boolean): Promise<Told>;
}

/** `name` is a path, or begins with @ for an abstract one. */
export async function listenForNotify(name: string): Promise<NotifySocket> {
  const listener = await startProcess("python3", ["-c", LISTENER, name], { name: "notify socket" });
  await listener.waitFor(/^listening$/m);
  const told = () => datagrams(listener);
  return {
    name,
    told,
    hears: (what, fits) =>
      eventually(
        () => `${what} at the notify socket, which heard ${JSON.stringify(told())}`,
        () => told().find(fits),
      ),
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
}

function datagrams(listener: RunningProcess): Told[] {
  return listener
    .lines()
    .filter((line) => line.startsWith('"'))
    .map((line) => Object.fromEntries((JSON.parse(line) as string).split("\n").map(assignment)));
}

function assignment(line: string): [string, string] {
  const end = line.indexOf("=");
  return [line.slice(0, end), line.slice(end + 1)];
}
