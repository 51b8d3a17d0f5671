import { HashWorkers } from "../../../src/auth/password/hash-workers.ts";
import { decoyPassword } from "../../../src/auth/password/stored-password.ts";

/** A program that checks one password and never closes the pool: it has to end by itself all the same. */
const right = await new HashWorkers().verify("x", decoyPassword());
process.stdout.write(`right: ${right}`);
