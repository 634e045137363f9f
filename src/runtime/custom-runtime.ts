// Any command as an app: it listens on the TCP port in PORT and speaks no frames. Owns its command line. Pure.
import { BellowsError } from '../base/errors.ts';
import { splitCommandLine } from './command-line.ts';
import type { Launch, LaunchInput, LaunchPlaces, Runtime } from './port.ts';

export const customRuntime: Runtime = {
  name: 'custom',
  poolable: false,
  pooled: () => null,

  launch: (input: LaunchInput, _places: LaunchPlaces, port: number): Launch => {
    const line = input.start?.trim() ?? '';
    if (input.kind !== 'app' || line === '') {
      throw new BellowsError(
        'UnsupportedRuntime',
        'The custom runtime runs apps: it needs a command to start.',
        'Give "kind": "app" and "start": "COMMAND", or use a managed runtime for a function.',
      );
    }
    const words = splitCommandLine(line);
    const [command = '/bin/sh', ...args] = words ?? ['/bin/sh', '-c', line];
    return {
      way: 'exec',
      plan: { command, args, env: { ...input.env, PORT: String(port) } },
      portVariable: 'PORT',
    };
  },
};
