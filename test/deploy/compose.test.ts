import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { parse } from "yaml";
import { parseConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { selfSigned } from "../../src/tls/self-signed.ts";
import { temporaryFolder } from "../support/temp.ts";

const text = (name: string) => readFile(new URL(`../../deploy/${name}`, import.meta.url), "utf8");

interface Service {
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly networks: readonly string[];
}

test("compose publishes every listener by its well-known port, and no other service at all", async () => {
  const { services, networks } = parse(await text("compose.yaml")) as {
    services: Record<string, Service>;
    networks: Record<string, { internal?: boolean }>;
  };
  const { listeners, dataDir, backends } = parse(await text("postern/postern.yaml")) as {
    listeners: { port: number }[];
    dataDir: string;
    backends: Record<string, { host: string }>;
  };
  const { postern, ...others } = services;
  assert.deepEqual(
    postern?.ports?.toSorted(),
    listeners.map(({ port }) => `${port - 10_000}:${port}`).toSorted(),
  );
  assert.ok(postern?.volumes?.includes(`data:${dataDir}`));
  assert.deepEqual(
    Object.values(backends)
      .map(({ host }) => host)
      .toSorted(),
    Object.keys(others).toSorted(),
  );
  assert.ok(networks["back"]?.internal);
  for (const { ports, networks: where } of Object.values(others)) {
    assert.equal(ports, undefined);
    assert.ok(where.includes("back") && !where.includes("front"));
  }
});

test("the configuration that compose mounts is one that Postern takes, on ports that the image exposes", async () => {
  await using folder = await temporaryFolder();
  const { cert, key } = await selfSigned(["mail.example.org"]);
  await mkdir(folder.at("tls"));
  for (const name of ["tls/fullchain.pem", "tls/backends.pem"]) await folder.write(name, cert);
  await folder.write("tls/privkey.pem", key);
  await folder.write("users.yaml", "{}\n");
  const loaded = parseConfig(await text("postern/postern.yaml"), folder.at("postern.yaml"));
  assert.ok(loaded.ok, loaded.ok ? "" : loaded.problems.map(formatProblem).join("\n"));
  assert.deepEqual(loaded.warnings, []);
  const exposed = /^EXPOSE (.*)$/m
    .exec(await text("../Dockerfile"))?.[1]
    ?.split(" ")
    .map(Number);
  for (const { port } of [...loaded.config.listeners, loaded.config.admin])
    assert.ok(exposed?.includes(port), `${port}`);
});
