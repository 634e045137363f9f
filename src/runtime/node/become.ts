// Turns an unbound process into a tenant's: user, environment, directory. Irrevocable.
// Owns the order of these steps. Does not own where the values come from (the agent) nor loading user code.
import process from 'node:process';
import type { BindRequest } from '../../protocol/instance.ts';

/** Gives up every right for good. Uid 0 means: stay who you are (an agent without rights started this process). */
export function becomeUser(uid: number, gid: number): void {
  const { setgroups, setgid, setuid, getuid, geteuid, getgid } = process;
  if (uid === 0 || setgroups === undefined || setgid === undefined || setuid === undefined) return;
  if (getuid?.() === uid) return;
  setgroups([]);
  setgid(gid);
  setuid(uid);
  if (getuid?.() !== uid || geteuid?.() !== uid || getgid?.() !== gid || canReturn()) {
    throw new Error(`the process could not become user ${uid}`);
  }
}

function canReturn(): boolean {
  try {
    process.setuid?.(0);
    return true;
  } catch {
    return false;
  }
}

/** The environment is exactly what was bound: nothing of the pool's own is left for user code to read. */
export function replaceEnvironment(env: Readonly<Record<string, string>>): void {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
}

export function become(request: BindRequest): void {
  becomeUser(request.uid, request.gid);
  replaceEnvironment(request.env);
  process.chdir(request.taskDirectory);
  process.title =
    request.function === null ? `bellows-app ${request.instance}` : `bellows-fn ${request.function.name}`;
}
