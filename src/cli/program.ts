import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { Whom } from "../admin/policy-control.ts";
import { ban, bans, explain, type TopOptions, top, unban, unbanAll } from "./bans.ts";
import { check } from "./check.ts";
import { demo } from "./demo.ts";
import { type HashOptions, hash } from "./hash.ts";
import { health } from "./health.ts";
import { reload, upgrade } from "./reload.ts";
import { run } from "./run.ts";
import { kick, type Meant, sessions } from "./sessions.ts";

const DEFAULT_CONFIG = "postern.yaml";

/** The whole command line; resolves to the exit code. */
export async function program(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const postern = new Command("postern")
    .description("A mail gateway: one guarded door in front of the mail servers you have.")
    .version(version())
    .exitOverride()
    .showHelpAfterError("(postern --help lists the commands)");

  const exit = (code: number): void => {
    exitCode = code;
  };
  postern
    .command("run")
    .description("run the gateway until SIGTERM or Ctrl-C")
    .option("-c, --config <file>", "the configuration", DEFAULT_CONFIG)
    .addOption(new Option("--take-over", "from the gateway that started this one").hideHelp())
    .action(async ({ config, takeOver }: { config: string; takeOver?: true }) =>
      exit(await run(config, takeOver === true)),
    );
  postern
    .command("check")
    .description("check a configuration and say everything that is wrong with it")
    .option("-c, --config <file>", "the configuration", DEFAULT_CONFIG)
    .option("--probe", "go to every backend too, and say what is found there")
    .option("--effective", "print all of it, defaults included and secrets masked")
    .argument("[file]", "the same, without the option")
    .action(
      async (
        file: string | undefined,
        {
          config,
          probe = false,
          effective = false,
        }: { config: string; probe?: boolean; effective?: boolean },
      ) => exit(await check(file ?? config, { probe, effective })),
    );
  postern
    .command("health")
    .description("ask the running gateway whether it serves clients: 0 yes, 1 no")
    .option("--host <address>", "where its admin port is bound", "127.0.0.1")
    .option("--port <number>", "its admin port", port, 8025)
    .action(async (admin: { host: string; port: number }) => exit(await health(admin.host, admin.port)));
  postern
    .command("demo")
    .description("a gateway with two small mail servers behind it, for trying out")
    .option("--port-base <number>", "added to the well-known ports", portBase, 10_000)
    .action(async (options: { portBase: number }) => exit(await demo(options.portBase)));

  postern
    .command("hash")
    .description("make a stored password for the users file; asks for the password without showing it")
    .option("-s, --scheme <name>", "ARGON2ID, SCRYPT, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, PBKDF2 or PLAIN")
    .option("-r, --rounds <number>", "how much work; what it counts depends on the scheme", rounds)
    .option("--verify <stored>", "check a password against this stored one: 0 right, 1 wrong")
    .action(async (options: HashOptions) => exit(await hash(options, process)));

  const meant = (command: Command): Command =>
    command
      .option("-c, --config <file>", "the configuration of the gateway that runs", DEFAULT_CONFIG)
      .option("--id <id>", "one session, by its id in the log")
      .option("--user <name>", "sessions of this user")
      .option("--ip <address>", "sessions from this address")
      .option("--backend <name>", "sessions at this backend")
      .option("--listener <name>", "sessions at this listener");
  meant(postern.command("sessions"))
    .description("list the sessions of a running gateway")
    .option("--json", "for programs", false)
    .action(async ({ config, json, ...whom }: Meant & { config: string; json: boolean }) =>
      exit(await sessions(config, whom, json)),
    );
  meant(postern.command("kick"))
    .description("end sessions of a running gateway; all that is given must fit")
    .action(async ({ config, ...whom }: Meant & { config: string }) => exit(await kick(config, whom)));

  const running = (command: Command): Command =>
    command.option("-c, --config <file>", "the configuration of the gateway that runs", DEFAULT_CONFIG);
  const key = (command: Command): Command =>
    running(command)
      .option("--ip <address>", "this address, or IPv6 network")
      .option("--user <name>", "this user, wherever he comes from")
      .option("--domain <name>", "all users of this domain")
      .option("--listener <name>", "at this listener; for limits that count so")
      .option("--protocol <name>", "in this protocol; for limits that count so")
      .option("--backend <name>", "at this backend; for limits that count so")
      .option("--country <code>", "everybody in this country, such as DE")
      .option("--asn <number>", "everybody in this autonomous system, such as AS64500");
  running(postern.command("explain"))
    .description("say what the limits and bans of a running gateway would answer somebody now, and why")
    .option("--user <name>", "who")
    .option("--ip <address>", "where he comes from")
    .option("--protocol <name>", "in which protocol")
    .option("--listener <name>", "at which listener")
    .option("--json", "for programs", false)
    .action(async ({ config, json, ...whom }: Whom & { config: string; json: boolean }) =>
      exit(await explain(config, whom, json)),
    );
  running(postern.command("bans"))
    .description("list the bans that hold in a running gateway")
    .option("--json", "for programs", false)
    .action(async ({ config, json }: { config: string; json: boolean }) => exit(await bans(config, json)));
  running(postern.command("top"))
    .description("list who does most of what in a running gateway, in the last hour at most")
    .option("--by <what>", "network or user", "network")
    .option(
      "--count <what>",
      "what limits count, such as authFailures, messages or bytesOut; or refused",
      "authFailures",
    )
    .option("--limit <number>", "how many at most", "20")
    .option("--json", "for programs", false)
    .action(async ({ config, ...options }: TopOptions & { config: string }) =>
      exit(await top(config, options)),
    );
  key(postern.command("ban"))
    .description("refuse somebody's new connections and logins; sessions that are open go on (see kick)")
    .requiredOption("--for <time>", "how long, such as 30m, 1h or 7d")
    .action(async ({ config, for: time, ...whom }: Whom & { config: string; for: string }) =>
      exit(await ban(config, whom, time)),
    );
  key(postern.command("unban"))
    .description("lift a ban, and forget what led to it")
    .option("--by <limit>", "all bans by this limit, or by operator")
    .action(async ({ config, by, ...whom }: Whom & { config: string; by?: string }) =>
      exit(await (by === undefined ? unban(config, whom) : unbanAll(config, by, whom))),
    );
  postern
    .command("reload")
    .description("have a running gateway take its configuration anew, as SIGHUP does")
    .option("-c, --config <file>", "the configuration", DEFAULT_CONFIG)
    .action(async ({ config }: { config: string }) => exit(await reload(config)));
  postern
    .command("upgrade")
    .description("have the program that is installed now take over from a running gateway")
    .option("-c, --config <file>", "the configuration", DEFAULT_CONFIG)
    .action(async ({ config }: { config: string }) => exit(await upgrade(config)));
  try {
    await postern.parseAsync(argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}

function version(): string {
  const packageJson: unknown = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  return (packageJson as { version: string }).version;
}

function rounds(text: string): number {
  if (/^[0-9]{1,10}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("a whole number is wanted.");
}

function port(text: string): number {
  const number = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= 65_535) return number;
  throw new InvalidArgumentError("a whole number from 1 to 65535 is wanted.");
}

/** The highest of the demo's ports, 8025, must still be a port when this is added. */
function portBase(text: string): number {
  const base = Number(text);
  if (Number.isInteger(base) && base >= 1_024 && base <= 57_000) return base;
  throw new InvalidArgumentError("a whole number from 1024 to 57000 is wanted.");
}
