#!/usr/bin/env node
// What the gateway starts to carry sessions has to be there soon, and needs nothing of the rest.
process.exitCode =
  process.argv[2] === "worker"
    ? await (await import("./cli/worker.ts")).worker()
    : await (await import("./cli/program.ts")).program(process.argv);
