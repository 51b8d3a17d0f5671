import { readFileSync } from "node:fs";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { check } from "./check.ts";
import { demo } from "./demo.ts";
import { type HashOptions, hash } from "./hash.ts";
import { run } from "./run.ts";

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
    .action(async ({ config }: { config: string }) => exit(await run(config)));
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

/** The highest of the demo's ports, 8025, must still be a port when this is added. */
function portBase(text: string): number {
  const base = Number(text);
  if (Number.isInteger(base) && base >= 1_024 && base <= 57_000) return base;
  throw new InvalidArgumentError("a whole number from 1024 to 57000 is wanted.");
}
