import { userInfo } from "node:os";
import { freePort } from "./ports.ts";
import { runProcess, startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";

export interface Postgrey extends AsyncDisposable {
  /** As the configuration names it. */
  readonly server: string;
}

/** A private postgrey, which lets nobody's first try pass, and one that comes a second later. */
export async function startPostgrey(): Promise<Postgrey> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const nobody = await folder.write("nobody", "");
  const group = (await runProcess("id", ["-gn"])).stdout.trim();
  const server = await startProcess(
    "/usr/sbin/postgrey",
    [
      `--inet=127.0.0.1:${port}`,
      `--dbdir=${folder.path}`,
      `--user=${userInfo().username}`,
      `--group=${group}`,
      "--delay=1",
      "--lookup-by-host",
      `--whitelist-clients=${nobody}`,
      `--whitelist-recipients=${nobody}`,
      "--hostname=postgrey.example.org",
    ],
    { name: "postgrey" },
  );
  await server.waitFor(/Setting gid/);
  return {
    server: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await server.stop();
      await folder.remove();
    },
  };
}
