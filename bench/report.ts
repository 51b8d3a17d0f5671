import { type Metric, metrics, type Sample } from "./measure.ts";

/** Samples of one metric by contender. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

export interface Row {
  readonly metric: Metric;
  readonly unit: string;
  /** Medians by contender. */
  readonly values: Readonly<Record<string, number>>;
  readonly withHelper: Readonly<Record<string, number>>;
  /** Each contender's median divided by the reference's. */
  readonly ratios: Readonly<Record<string, number>>;
}

/** What is beyond these, compared with nginx, is no longer noise. */
const BOUNDS: Readonly<Record<Metric, number>> = {
  login: 2,
  resumed: 2,
  download: 2,
  upload: 2,
  submitted: 1.3,
  submittedBig: 1.3,
  relayed: 1.3,
  relayedAlone: 2,
  relayedBig: 1.3,
  memory: 3,
};

export function toRow(metric: Metric, samples: Samples, reference: string): Row {
  const values = medians(samples, (sample) => sample.value);
  const base = values[reference] ?? Number.NaN;
  return {
    metric,
    unit: metrics[metric].unit,
    values,
    withHelper: medians(samples, (sample) => sample.withHelper),
    ratios: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value / base])),
  };
}

function medians(samples: Samples, read: (sample: Sample) => number): Record<string, number> {
  return Object.fromEntries([...samples].map(([name, list]) => [name, median(list.map(read))]));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** One line a metric; each contender's value and, in brackets, how it compares with the reference. */
export function table(rows: readonly Row[]): string {
  const names = Object.keys(rows[0]?.values ?? {});
  const lines = rows.map((row) => [
    `${metrics[row.metric].title}, ${row.unit}`,
    ...names.map((name) => cell(row, name)),
  ]);
  return align([["", ...names], ...lines]);
}

function cell({ values, withHelper, ratios }: Row, name: string): string {
  const value = values[name] ?? Number.NaN;
  const whole = withHelper[name] ?? value;
  const extra = whole - value > 0.005 ? ` (with helper ${whole.toFixed(2)})` : "";
  return `${value.toFixed(2)}${extra}  x${(ratios[name] ?? Number.NaN).toFixed(2)}`;
}

function align(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines
    .map((line) =>
      line
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Where `name` costs more than its bound, in words. */
export function excesses(rows: readonly Row[], name: string): string[] {
  return rows.flatMap(({ metric, ratios }) => {
    const ratio = ratios[name] ?? Number.NaN;
    return ratio <= BOUNDS[metric]
      ? []
      : [`${metrics[metric].title}: ${ratio.toFixed(2)} times the reference, allowed is ${BOUNDS[metric]}`];
  });
}
