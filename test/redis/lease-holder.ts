import { Leases } from "../../src/redis/lease.ts";
import { connect } from "./observed.ts";

/** Takes a lease, says so, and holds it until it is killed. */
const [url = "", ttlMs] = process.argv.slice(2);
const { connection } = await connect({ url });
if (await new Leases(connection).acquire("order", Number(ttlMs))) process.send?.("held");
setInterval(() => {}, 1_000);
