// Any command as an app, in any language. Owns nothing but its name: how a command is started is exec-command.ts.
import { execCommand } from './exec-command.ts';
import type { Launch, LaunchInput, LaunchPlaces, Runtime } from './port.ts';

export const customRuntime: Runtime = {
  name: 'custom',
  poolable: false,
  pooled: () => null,
  launch: (input: LaunchInput, _places: LaunchPlaces, port: number): Launch => execCommand(input, port),
};
