import type { ConfigDocument } from "./document.ts";
import { byPosition, type Problem } from "./problem.ts";

interface Details {
  readonly found?: string;
  readonly valid?: string;
  /** Point at the key itself instead of its value. */
  readonly at?: "key" | "value";
  /** False when the values around it can still be trusted, as with a key too many. */
  readonly breaks?: boolean;
}

/** Collects what is wrong, each thing by the JSON pointer of where it stands. */
export interface Report {
  error(pointer: string, message: string, details?: Details): void;
  warn(pointer: string, message: string, details?: Details): void;
  /** True when nothing is wrong at, above or below a pointer, so that its value is what its type says. */
  whole(pointer: string): boolean;
  /** Sorted by line. */
  problems(): Problem[];
  /** Sorted by line. */
  warnings(): Problem[];
}

/** An empty report about `document`, which came from `file`. */
export function newReport(file: string, document: ConfigDocument): Report {
  const problems: Problem[] = document.faults.map(({ offset, key, message }) =>
    problemAt(offset, key, message, {}),
  );
  const warnings: Problem[] = [];
  const broken = new Set<string>();

  function problemAt(offset: number, key: string, message: string, { found, valid }: Details): Problem {
    const position = document.lineColumn(offset);
    return {
      file,
      ...position,
      key,
      message,
      ...(found !== undefined && { found }),
      ...(valid !== undefined && { valid }),
    };
  }

  function about(pointer: string, message: string, details: Details): Problem {
    const offset = document.offsetAt(pointer, details.at ?? "value");
    return problemAt(offset, document.keyAt(pointer), message, details);
  }

  return {
    error(pointer, message, details = {}) {
      if (details.breaks !== false) broken.add(pointer);
      problems.push(about(pointer, message, details));
    },
    warn: (pointer, message, details = {}) => void warnings.push(about(pointer, message, details)),
    whole: (pointer) => [...broken].every((other) => !related(pointer, other)),
    problems: () => problems.toSorted(byPosition),
    warnings: () => warnings.toSorted(byPosition),
  };
}

function related(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}
