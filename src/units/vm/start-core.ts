// Joins a machine with its core: what the machine tells while there is no core yet is not lost. Owns nothing else.
import { attachTo, putTogether, type Beginning, type MachineWatch } from './construct.ts';
import { UnitCore } from './core.ts';
import type { VmHost } from './host.ts';
import type { Machine } from './machine/machine.ts';
import type { UnitRecord } from './record.ts';

/** @throws as `putTogether`: what was made by then is there, for `takeApart`. */
export function startCore(host: VmHost, record: UnitRecord, beginning: Beginning): Promise<UnitCore> {
  return joined(host, (watch) => putTogether(host, record, beginning, watch));
}

/** @throws BellowsError NotFound when its process is gone. */
export async function adoptCore(host: VmHost, record: UnitRecord): Promise<UnitCore> {
  const core = await joined(host, async (watch) => ({
    machine: await attachTo(host, record, watch),
    record,
  }));
  // Its owner died while it held it still, to move it or to put it to rest.
  const { status } = await core.machine.execute('query-status', {});
  if (status === 'paused') await core.machine.execute('cont', {});
  return core;
}

async function joined(
  host: VmHost,
  make: (watch: MachineWatch) => Promise<{ readonly machine: Machine; readonly record: UnitRecord }>,
): Promise<UnitCore> {
  const early: { lost?: string; core?: UnitCore } = {};
  const { machine, record } = await make({
    onLost: (reason) => {
      early.lost = reason;
      early.core?.lose(reason);
    },
    onSerialPort: (open) => early.core?.serialPortChanged(open),
  });
  const core = new UnitCore(host, record, machine);
  early.core = core;
  if (early.lost !== undefined) core.lose(early.lost);
  return core;
}
