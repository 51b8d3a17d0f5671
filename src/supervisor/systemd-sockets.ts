/** The first descriptor that systemd hands over: sd_listen_fds(3). */
const FIRST = 3;

/** The descriptor of the listening socket that systemd opened for us under this name, if it did. */
export function systemdSocket(name: string, env: NodeJS.ProcessEnv, pid: number): number | undefined {
  // Meant for one process, and not for those that it starts.
  if (env["LISTEN_PID"] !== String(pid)) return undefined;
  const count = Number(env["LISTEN_FDS"] ?? 0);
  const at = (env["LISTEN_FDNAMES"] ?? "").split(":").slice(0, count).indexOf(name);
  return at === -1 ? undefined : FIRST + at;
}
