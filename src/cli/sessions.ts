import { act, askAdmin } from "./ask-admin.ts";

/** Which sessions are meant: all that is given must fit. */
export interface Meant {
  readonly id?: string;
  readonly user?: string;
  readonly ip?: string;
  readonly backend?: string;
  readonly listener?: string;
}

interface Row extends Required<Omit<Meant, "user" | "backend">> {
  readonly user?: string;
  readonly backend?: string;
  readonly stage: string;
  readonly tls: string;
  readonly seconds: number;
  readonly bytes: { readonly in: number; readonly out: number };
}

const COLUMNS = ["id", "listener", "ip", "user", "backend", "stage", "tls", "seconds", "in", "out"] as const;

/** `postern sessions`: who is inside a running gateway now. */
export function sessions(file: string, meant: Meant, json: boolean): Promise<number> {
  const query = new URLSearchParams({ ...meant }).toString();
  return act(
    () => askAdmin(file, "GET", `/api/v1/sessions?${query}`),
    ({ body }) => {
      const rows = body["sessions"] as readonly Row[];
      if (json) return console.log(JSON.stringify(body));
      for (const line of table(rows)) console.log(line);
      const total = Number(body["total"]);
      console.log(total > rows.length ? `${rows.length} of ${total} sessions` : `${total} sessions`);
    },
  );
}

/** `postern kick`: ends sessions of a running gateway, with their protocol's goodbye. */
export function kick(file: string, meant: Meant): Promise<number> {
  if (Object.keys(meant).length === 0) {
    console.error("postern kick: say whom: --id, --user, --ip, --backend or --listener");
    return Promise.resolve(2);
  }
  return act(
    () => askAdmin(file, "POST", "/api/v1/sessions/kick", meant),
    ({ body }) => console.log(`${String(body["kicked"])} sessions ended`),
  );
}

function table(rows: readonly Row[]): string[] {
  const cells = rows.map((row) => {
    const { bytes, ...shown } = { ...row, in: row.bytes.in, out: row.bytes.out };
    return COLUMNS.map((column) => String(shown[column] ?? "-"));
  });
  const all = [[...COLUMNS], ...cells];
  const widths = COLUMNS.map((_, at) => Math.max(...all.map((line) => line[at]?.length ?? 0)));
  return all.map((line) =>
    line
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
