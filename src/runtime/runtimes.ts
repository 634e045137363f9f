// Every runtime by its name. Owns the table only.
import type { RuntimeName } from '../model/workload.ts';
import { customRuntime } from './custom-runtime.ts';
import { nodeRuntime } from './node-runtime.ts';
import type { Runtime } from './port.ts';

export const runtimes: Readonly<Record<RuntimeName, Runtime>> = {
  'nodejs26.x': nodeRuntime,
  custom: customRuntime,
};
