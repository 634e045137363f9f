// Makes units: a clone of a template where there can be one, else a boot, and its identity. Owns the steps in their order
// and cleaning up after one that failed; each step is its own file's.
import { performance } from 'node:perf_hooks';
import { knownSystemError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import { stateFdOf, takeApart, type Beginning } from './construct.ts';
import type { UnitCore } from './core.ts';
import { poolGroupOf, type VmHost } from './host.ts';
import { personalise } from './identity.ts';
import { restoreState } from './migration.ts';
import { macOf } from './network/names.ts';
import type { ProvisionReport } from './port.ts';
import type { UnitRecord } from './record.ts';
import { startCore } from './start-core.ts';
import { bootTimeoutMs, type TemplateInUse } from './template/build.ts';
import { ramBytesFor } from './template/store.ts';

/** A quarter of a second alone, emulated; with a dozen beside it on two processors, seconds. */
const cloneTimeoutMs = 60_000;

export function newRecord(
  host: VmHost,
  id: UnitId,
  slot: number,
  size: Resources,
  templateKey: string | null,
): UnitRecord {
  const confinement = host.confinement(slot);
  return {
    version: 1,
    id,
    bootId: host.bootId,
    processes: null,
    slot,
    side: 'a',
    uid: confinement.kind === 'separate user' ? confinement.uid : null,
    size,
    ramBytes: ramBytesFor(size, host.options.image.overheadBytes),
    templateKey,
    network: host.network === null ? 'user' : 'tap',
    mac: macOf(host.hash, slot, 'door'),
    door: null,
    group: [...poolGroupOf(id)],
    cpuMillicores: null,
    usableStorageBytes: null,
    bytesPerSecond: null,
    resting: false,
  };
}

export interface Provisioned {
  readonly core: UnitCore;
  readonly report: ProvisionReport;
}

/** @throws BellowsError NoRoom, StartFailed, Unavailable; nothing is left then. */
export async function provisionUnit(
  host: VmHost,
  record: UnitRecord,
  template: TemplateInUse | null,
): Promise<Provisioned> {
  const startedMs = performance.now();
  const sinceStart = (): number => performance.now() - startedMs;
  let core: UnitCore | undefined;
  try {
    core = await startCore(host, record, beginningOf(template));
    if (template !== null) await restoreState(core.machine, 'devices', stateFdOf('clone'));
    const launchMs = sinceStart();
    await core.answered(template === null ? bootTimeoutMs : cloneTimeoutMs);
    const firstAnswerMs = sinceStart();
    await personalise(host, core);
    await core.balloon.look();
    const from = template === null ? 'boot' : 'template';
    return { core, report: { from, launchMs, firstAnswerMs, totalMs: sinceStart() } };
  } catch (thrown) {
    const words = core === undefined ? '' : await core.machine.lastWords().catch(() => '');
    if (words !== '')
      host.options.onDefect(thrown, `unit ${record.id} did not start; its last words: ${words}`);
    core?.link.close();
    await takeApart(host, core?.record ?? host.records.read(record.id) ?? record, core?.machine ?? null);
    throw knownSystemError(thrown) ?? thrown;
  }
}

function beginningOf(template: TemplateInUse | null): Beginning {
  if (template === null) return { kind: 'boot' };
  const { stored, memoryFd } = template;
  return {
    kind: 'clone',
    memoryFd,
    stateFile: stored.stateFile,
    scratch: { packed: stored.scratchFile, layout: stored.scratch },
  };
}
