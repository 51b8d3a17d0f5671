import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { holdIdle } from "./idle.ts";
import { type Metric, metrics, type Sample, type Sizes } from "./measure.ts";
import { excesses, type Row, table, toRow } from "./report.ts";
import { type Contender, nginx, openSite, postern, type Site } from "./subjects.ts";

const FULL: Sizes = {
  rounds: 3,
  logins: 2000,
  warmUp: 600,
  transferBytes: 512 * 1024 ** 2,
  idleSessions: 1500,
  messages: 12_000,
  settleMs: 4000,
};
const QUICK: Sizes = {
  rounds: 1,
  logins: 400,
  warmUp: 200,
  transferBytes: 64 * 1024 ** 2,
  idleSessions: 300,
  messages: 3_000,
  settleMs: 1000,
};
const REFERENCE = "nginx";

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string", multiple: true },
    main: { type: "string", multiple: true },
    workers: { type: "string", multiple: true, default: ["0"] },
    "cpu-prof": { type: "string" },
    curve: { type: "boolean", default: false },
    idle: { type: "string" },
    minutes: { type: "string", default: "10" },
  },
});

const sizes = options.quick ? QUICK : FULL;
const rounds = Number(options.rounds ?? sizes.rounds);
const contenders = [...mains(), nginx(REFERENCE), nginx("nginx 64k", "64k")];
const chosen = Object.keys(metrics).filter((name) => options.only?.includes(name) ?? true) as Metric[];

await using site = await openSite(options.curve);
if (options.idle) {
  for (const contender of mains())
    await holdIdle(contender, site, { sessions: Number(options.idle), minutes: Number(options.minutes) });
  await site[Symbol.asyncDispose]();
  process.exit();
}
const rows: Row[] = [];
for (const metric of chosen) rows.push(toRow(metric, await collect(site, metric), REFERENCE));

console.log(options.json ? JSON.stringify(rows, undefined, 2) : table(rows));
if (options.check) {
  const problems = excesses(rows, contenders[0]?.name ?? "");
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

/** This tree's Postern, or those that `--main [NAME=]PATH` names, with each number of `--workers`. */
function mains(): Contender[] {
  const own = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  return (options.main ?? [`Postern=${own}`]).flatMap((given) => {
    const at = given.indexOf("=");
    const [name, main] = at === -1 ? ["Postern", given] : [given.slice(0, at), given.slice(at + 1)];
    return options.workers.map((count) => {
      const workers = Number(count);
      const shown = workers === 0 ? name : `${name}, workers: ${workers}`;
      return postern({ name: shown, main, workers, profile: options["cpu-prof"] });
    });
  });
}

/** Every contender once in each round, so that a busy machine is busy for all of them. */
async function collect(site: Site, metric: Metric): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const contender of contenders) {
      const sample = await metrics[metric].take(contender, site, sizes);
      samples.get(contender.name)?.push(sample);
      const { title, unit } = metrics[metric];
      console.error(`${title}, round ${round}: ${contender.name} ${sample.value.toFixed(3)} ${unit}`);
    }
  }
  return samples;
}
