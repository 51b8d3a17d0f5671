import { RedisStore } from "../../src/policy/store/redis.ts";
import { connect } from "../redis/observed.ts";

/** Takes the one seat of alice, says so, and sits there until it is killed. */
const [url = "", seatMs] = process.argv.slice(2);
const { connection } = await connect({ url });
const store = new RedisStore(connection, Number(seatMs));
const answer = await store.take({
  bans: [],
  buckets: [{ key: "open\u0000user=alice", points: 1, soft: false }],
});
if (!("ban" in answer) && !answer.refused) process.send?.("held");
setInterval(() => {}, 1_000);
