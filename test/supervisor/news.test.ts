import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { type News, newsDesk } from "../../src/supervisor/news.ts";

const NEWS: News = { level: "info", fields: { path: "users.yaml" }, message: "users reloaded" };

function desk() {
  let time = 0;
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(line) });
  const hear = newsDesk(log, () => time);
  const later = (ms: number): void => {
    time += ms;
  };
  return { hear, lines, later };
}

test("what every process saw is told once, and told again when it happens again", () => {
  const { hear, lines, later } = desk();
  for (const worker of [1, 2, 3]) hear(NEWS, worker);
  assert.equal(lines.length, 1);
  hear(NEWS, 2);
  hear(NEWS, 1);
  assert.equal(lines.length, 2);
  later(20_000);
  hear(NEWS, 3);
  assert.equal(lines.length, 3);
});
