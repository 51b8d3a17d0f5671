import { AFTER_LOGIN, ALWAYS, type CommandRows } from "./command-row.ts";
import { bad, ok } from "./reply.ts";

/** Commands about the session itself. */
export const GENERAL_COMMANDS: CommandRows<
  "CAPABILITY" | "NOOP" | "LOGOUT" | "ID" | "ENABLE" | "NAMESPACE" | "IDLE"
> = {
  CAPABILITY: {
    when: ALWAYS,
    async run(session) {
      await session.write(`* CAPABILITY ${session.capabilities}\r\n`);
      return ok("That is what I can do");
    },
  },
  NOOP: { when: ALWAYS, run: () => ok("Done") },
  LOGOUT: {
    when: ALWAYS,
    async run(session) {
      await session.write("* BYE Until next time\r\n");
      session.leave();
      return ok("Logged out");
    },
  },
  ID: {
    when: ALWAYS,
    async run(session) {
      await session.write('* ID ("name" "Postern sandbox")\r\n');
      return ok("Pleased to meet you");
    },
  },
  ENABLE: {
    when: AFTER_LOGIN,
    async run(session) {
      // RFC 5161 3.1: what is unknown is passed over, and there is nothing here to be enabled.
      await session.write("* ENABLED\r\n");
      return ok("Nothing to enable");
    },
  },
  NAMESPACE: {
    when: AFTER_LOGIN,
    async run(session) {
      await session.write('* NAMESPACE (("" "/")) NIL NIL\r\n');
      return ok("One namespace, and it is yours");
    },
  },
  IDLE: {
    when: AFTER_LOGIN,
    async run(session) {
      await session.write("+ idling\r\n");
      const line = await session.idle();
      if (line === undefined) {
        session.leave();
        return undefined;
      }
      return line.toUpperCase() === "DONE" ? ok("Idle no more") : bad("Expected DONE");
    },
  },
};
