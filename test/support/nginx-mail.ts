import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { connect } from "./conversation.ts";
import { freePort } from "./ports.ts";
import { startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";
import { eventually } from "./waiting.ts";

/** A private nginx whose mail module takes mail from other servers, and names its clients by XCLIENT. */
export interface NginxMail extends AsyncDisposable {
  readonly port: number;
  output(): string;
}

/** All mail goes to `to` on loopback. */
export async function startNginxMail(to: number): Promise<NginxMail> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const hook = createServer((_request, response) => {
    response.writeHead(200, { "Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": `${to}` }).end();
  });
  hook.listen(0, "127.0.0.1");
  await once(hook, "listening");
  const config = await folder.write(
    "nginx.conf",
    `
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
master_process off;
error_log stderr info;
pid ${folder.at("nginx.pid")};
events { worker_connections 64; }
mail {
  server_name nginx.example.org;
  auth_http 127.0.0.1:${(hook.address() as AddressInfo).port}/auth;
  server { listen 127.0.0.1:${port}; protocol smtp; smtp_auth none; xclient on; }
}
`,
  );
  const child = await startProcess("nginx", ["-e", "stderr", "-c", config], {
    name: "nginx",
    env: { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
  });
  const stop = async () => {
    await child.stop();
    hook.closeAllConnections();
    hook.close();
    await folder.remove();
  };
  await eventually(
    () => `nginx to be ready\n${child.output()}`,
    async () => {
      if (!child.running) throw new Error(`nginx did not start:\n${child.output()}`);
      const probe = await connect({ port }).catch(() => undefined);
      await probe?.[Symbol.asyncDispose]();
      return probe !== undefined;
    },
  ).catch(async (error) => {
    await stop();
    throw error;
  });
  return { port, output: () => child.output(), [Symbol.asyncDispose]: stop };
}
