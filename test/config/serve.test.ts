import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const path = `${newFolder()}/postern.yaml`;
const serving = (serve: string, more = "") => fileWith({ policy: `policy:\n  serve: ${serve}\n${more}` });

test("Postfix asks at a port, or at a socket beside the file", () => {
  const port = mustLoad(serving("{ port: 10040 }"), path).policy.serve;
  assert.deepEqual(port, { host: "127.0.0.1", port: 10_040, mode: "0660", name: "postfix" });
  const socket = mustLoad(serving('{ socket: policy.sock, mode: "0666", group: postfix, name: mx }'), path)
    .policy.serve;
  assert.equal(socket?.socket, path.replace("postern.yaml", "policy.sock"));
  assert.equal(mustLoad(fileWith(), path).policy.serve, undefined);
});

test("its name is one that a limit can match", () => {
  const limits =
    "  limits: [{ name: r, count: recipients, per: user, limit: 5/1h, match: { listener: postfix } }]";
  assert.deepEqual(linesOf(parseConfig(serving("{ port: 10040 }", limits), path, {}), "problems"), []);
  const unserved = fileWith({ policy: `policy:\n${limits}` });
  assert.match(linesOf(parseConfig(unserved, path, {}), "problems").join(), /is not the name of a listener/);
});

for (const [what, serve, problem] of [
  ["nowhere", "{ name: mx }", /policy\.serve: says nowhere to listen/],
  ["both", "{ port: 1, socket: a }", /policy\.serve\.port: cannot stand beside socket/],
  ["everybody by omission", "{ port: 1, host: 0.0.0.0 }", /policy\.serve\.host: lets everyone ask/],
  [
    "everybody by name",
    '{ port: 1, host: "::", networks: ["::/0"] }',
    /networks\.0: would answer anybody|networks\[0\]: would answer anybody/,
  ],
  ["networks of a socket", "{ socket: a, networks: [10.0.0.1] }", /networks: means nothing to a unix socket/],
  ["a group of a port", "{ port: 1, group: postfix }", /group: means nothing to a port/],
  ["a listener's port", "{ port: 1143 }", /policy\.serve\.port: is taken by the listener imap-1143/],
  ["the admin port", "{ port: 8025 }", /policy\.serve\.port: is taken by admin/],
  ["a listener's name", "{ port: 1, name: imap-1143 }", /policy\.serve\.name: is the name of a listener too/],
  ["a mode that is none", '{ socket: a, mode: "rw" }', /policy\.serve\.mode: /],
  ["a mode that YAML takes for a number", "{ socket: a, mode: 0660 }", /policy\.serve\.mode: /],
  ["a path without end", `{ socket: ${"a".repeat(120)} }`, /socket: is too long for a socket's path/],
  ["an unknown key", "{ port: 1, prot: smtp }", /prot/],
] as const)
  test(`${what} is refused`, () => {
    const problems = linesOf(parseConfig(serving(serve), path, {}), "problems");
    assert.match(problems.join("\n"), problem);
  });

test("off loopback it is who may ask that makes it right", () => {
  const text = serving("{ port: 10040, host: 10.0.0.1, networks: [10.0.0.0/24] }");
  assert.deepEqual(linesOf(parseConfig(text, path, {}), "problems"), []);
});
