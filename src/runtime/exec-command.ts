// An app's command as a process of its own: it listens on the TCP port in PORT and speaks no frames. Owns its plan. Pure.
import { BellowsError } from '../base/errors.ts';
import { splitCommandLine } from './command-line.ts';
import type { Launch, LaunchInput } from './port.ts';

/**
 * SIGTERM reaches the shell too; it must outlast what it has started, because the sandbox ends with its first command.
 * A trap that does something, unlike an ignored signal, is not passed on to that.
 */
const shellThatWaits = 'trap : TERM; ';

/** @throws BellowsError UnsupportedRuntime when there is no command, or it is a function */
export function execCommand(input: LaunchInput, port: number): Launch {
  const line = input.start?.trim() ?? '';
  if (input.kind !== 'app' || line === '') {
    throw new BellowsError(
      'UnsupportedRuntime',
      'Only an app is started by a command, and it needs one.',
      'Give "kind": "app" and "start": "COMMAND", or use a managed runtime for a function.',
    );
  }
  const words = splitCommandLine(line);
  const [command = '/bin/sh', ...args] = words ?? ['/bin/sh', '-c', `${shellThatWaits}${line}`];
  return {
    way: 'exec',
    plan: { command, args, env: { ...input.env, PORT: String(port) } },
    portVariable: 'PORT',
  };
}
