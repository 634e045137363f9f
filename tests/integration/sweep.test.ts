// What a killed Bellows left on this machine itself, ended by one that runs nothing there: by the program that the supervisor
// runs for it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { detectCgroup } from '../../src/agent/cgroup/detect.ts';
import type { UnitId } from '../../src/base/ids.ts';
import type { Resources } from '../../src/model/resources.ts';
import type { UnitKind } from '../../src/model/unit-kind.ts';
import { layoutOf } from '../../src/sys/layout.ts';
import { identify } from '../../src/sys/process.ts';
import { fleetCgroupRoot } from '../../src/units/fleet/config.ts';
import { bootId } from '../../src/units/vm/host.ts';
import { UnitRecords } from '../../src/units/vm/record.ts';
import { leftBehind } from '../../src/units/left-behind.ts';
import { groupsNamed } from '../support/kernel.ts';
import {
  evalHandler,
  eventually,
  functionSpec,
  isRoot,
  kill,
  start,
  startUnit,
  stopUnit,
  tracesOf,
  writeCode,
  type TestUnit,
} from './agent-process.ts';

const program = fileURLToPath(new URL('../../src/units/sweep-main.ts', import.meta.url));

let unit: TestUnit;
beforeAll(async () => {
  unit = await startUnit();
});
afterAll(() => stopUnit(unit));

async function sweep(kind: UnitKind): Promise<void> {
  const config = { dataDirectory: unit.data, network: 'host', cgroupRoot: unit.cgroupRoot, hostToo: false };
  const sweeping = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, kind], {
    env: { ...process.env, BELLOWS_CONFIG: JSON.stringify(config) },
    stdio: 'inherit',
  });
  expect(await once(sweeping, 'exit')).toEqual([0, null]);
}

test('instances and processes that were kept ready end, and nothing of them is left: no process, group, mount or file', async () => {
  const layout = layoutOf(unit.data);
  await unit.caller.call('setPool', { size: 1 });
  await start(unit, functionSpec(writeCode(unit, 'probe', evalHandler)));
  await eventually(async () => (await unit.caller.call('list', {})).poolReady === 1);
  await kill(unit.agent);
  expect(tracesOf(unit).processes.length).toBeGreaterThan(1);
  expect(leftBehind('host', layout)).toBe(1);

  await sweep('host');
  const { processes, groups, mounts } = tracesOf(unit);
  expect({ processes, groups, mounts }).toEqual({ processes: [], groups: [], mounts: [] });
  expect(readdirSync(layout.handles)).toEqual([]);
  expect(existsSync(layout.scratch)).toBe(false);
  expect(leftBehind('host', layout)).toBeUndefined();
});

test('machines end by what is on record of them, with neither QEMU nor an image: no process, group or file is left', async () => {
  const { units, unitRuns, root } = layoutOf(unit.data);
  const id = 'u-left' as UnitId;
  const { cgroup } = detectCgroup(fleetCgroupRoot(unit.cgroupRoot));
  const group = ['pool', id];
  // Stands for QEMU: what is ended is what is on record, and all that is in the group.
  const machines = [0, 1].map(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
  const [qemu, other] = machines.map(({ pid = 0 }) => identify(pid));
  const ended = Promise.all(machines.map((machine) => once(machine, 'exit')));
  if (qemu === undefined || other === undefined) throw new Error('not started');
  cgroup.create(group);
  if (isRoot) await cgroup.move(group, [qemu.pid, other.pid]);
  else machines[1]?.kill();
  const size = { memory: 1, cpu: 1, storage: 1, bandwidth: 1 } as Resources;
  new UnitRecords(units).write({
    version: 1,
    id,
    bootId: bootId(),
    processes: { qemu, monitor: null },
    slot: 0,
    side: 'a',
    uid: null,
    size,
    ramBytes: 1,
    templateKey: null,
    network: 'user',
    mac: '02:00:00:00:00:01',
    door: null,
    group,
    cpuMillicores: null,
    usableStorageBytes: null,
    bytesPerSecond: null,
    resting: false,
  });
  const files = [join(unitRuns, id), join(root, 'scratch'), join(root, 'snapshots', id)];
  for (const directory of files) mkdirSync(directory, { recursive: true });
  writeFileSync(join(root, 'scratch', `${id}.ext4`), '');
  expect(leftBehind('vm', layoutOf(root))).toBe(1);

  await sweep('vm');
  await ended;
  expect(readdirSync(units)).toEqual([]);
  expect(readdirSync(join(root, 'scratch'))).toEqual([]);
  expect(readdirSync(join(root, 'snapshots'))).toEqual([]);
  expect(groupsNamed(fleetCgroupRoot(unit.cgroupRoot))).toEqual([]);
  expect(leftBehind('vm', layoutOf(root))).toBeUndefined();
});
