// What instances store, on the real kernel: an image with a claim, its size changed both ways while code writes to it, and
// what the machine's disk has of it. The code inside plays a tenant that wants more than it is granted.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { ResourceChange } from '../../src/model/change.ts';
import type { Resources } from '../../src/model/resources.ts';
import { defaultRequest } from '../../src/model/workload.ts';
import { mib } from '../../src/base/quantity.ts';
import { loopDevices } from '../support/kernel.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  evalHandler,
  eventually,
  functionSpec,
  kill,
  mebibytes,
  run,
  start,
  startAgent,
  startUnit,
  stop,
  stopUnit,
  tracesOf,
  uidOf,
  writeCode,
  type Started,
  type TestUnit,
} from './agent-process.ts';

const missing =
  process.getuid?.() !== 0
    ? 'root is needed for mounts'
    : existsSync('/dev/loop-control')
      ? undefined
      : 'there are no loop devices here';

const ensureTenant = (unit: TestUnit): Promise<unknown> =>
  unit.caller.call('ensureTenant', {
    tenant: 'acme' as never,
    uid: uidOf(1),
    memoryBytes: null,
    cpuMillicores: null,
    weight: 1,
  });

const images = (unit: TestUnit): string[] => {
  const directory = join(unit.data, 'scratch-images');
  return existsSync(directory) ? readdirSync(directory).filter((name) => name.startsWith('s-')) : [];
};
const devices = (unit: TestUnit): string[] =>
  loopDevices()
    .filter(({ file }) => file.startsWith(`${unit.data}/`))
    .map(({ name }) => name);

suiteNeeding('storage of an instance', missing, () => {
  let unit: TestUnit;
  let code: string;
  let started: Started;
  const js = async (text: string): Promise<unknown> => {
    const { value, error } = await run(started.endpoint, text);
    return error ?? value;
  };
  const freeInside = (): Promise<unknown> =>
    js(`(() => { const { bsize, bavail } = fs.statfsSync('/tmp'); return bsize * bavail; })()`);
  const writeInside = (name: string, count: number): Promise<unknown> =>
    js(`(() => { const fd = fs.openSync('/tmp/${name}', 'w'); let done = 0;
      try { for (; done < ${count}; done += 1) fs.writeSync(fd, Buffer.alloc(1 << 20, 7)); fs.fsyncSync(fd); }
      catch (error) { return [done, error.code]; } finally { fs.closeSync(fd); } return [done, 'ok']; })()`);
  const resize = async (storageMib: number, waitMs = 0): Promise<ResourceChange> => {
    const grant: Resources = { ...defaultRequest, storage: mebibytes(storageMib) };
    const { instances } = await unit.caller.call(
      'resize',
      { tenants: [], instances: [{ id: started.instance.id, grant }], waitMs },
      { timeoutMs: 30_000 + waitMs },
    );
    return instances[0]!.changes.find(({ resource }) => resource === 'storage')!;
  };
  const image = (): string => join(unit.data, 'scratch-images', images(unit)[0]!);
  const onDisk = (): number => statSync(image()).blocks * 512;

  beforeAll(async () => {
    unit = await startUnit();
    await ensureTenant(unit);
    code = writeCode(unit, 'probe', evalHandler);
    started = await start(unit, functionSpec(code, { grant: { storage: mebibytes(64) } }));
  });
  afterAll(() => stopUnit(unit));

  test('M-A5: it has what it was granted, and the disk holds next to nothing of it', async () => {
    expect(await freeInside()).toBe(64 * mib);
    expect(onDisk()).toBeLessThan(8 * mib);
    expect(statSync(image()).size).toBeGreaterThan(1024 * mib);
  });

  test('M-A5: what is full says so, and takes not a byte more', async () => {
    const [written, how] = (await writeInside('fill', 100)) as [number, string];
    expect(how).toBe('ENOSPC');
    expect(written).toBeGreaterThanOrEqual(62);
    expect(written).toBeLessThanOrEqual(64);
    expect(await js(`fs.statSync('/tmp/fill').size`)).toBeLessThanOrEqual(64 * mib);
  });

  test('M-A5: more is granted while it runs, and can be used at once', async () => {
    expect(await resize(160)).toMatchObject({
      status: 'applied',
      before: 64 * mib,
      after: 160 * mib,
      wanted: 160 * mib,
    });
    expect(await writeInside('more', 80)).toEqual([80, 'ok']);
    const { instances } = await unit.caller.call('measure', {});
    const stored = (await js(`fs.statSync('/tmp/fill').size + fs.statSync('/tmp/more').size`)) as number;
    expect(instances[0]?.storageBytes).toBeGreaterThanOrEqual(stored);
    expect(instances[0]?.storageBytes).toBeLessThanOrEqual(stored + mib);
  });

  test('M-A5: less than it holds is deferred, says why, takes nothing away, and is applied by itself when it has deleted enough', async () => {
    const deferred = await resize(96);
    expect(deferred).toMatchObject({ status: 'deferred', after: 160 * mib, wanted: 96 * mib });
    expect(deferred.reason).toMatch(/holds 14\d(\.\d)? MiB in \/tmp/);
    expect(await js(`fs.statSync('/tmp/more').size`)).toBe(80 * mib);
    expect(await js(`fs.readFileSync('/tmp/more').every((byte) => byte === 7)`)).toBe(true);
    const eventsBefore = unit.events.length;
    await js(`fs.rmSync('/tmp/fill')`);
    await eventually(() =>
      unit.events
        .slice(eventsBefore)
        .some(
          (event) =>
            event.event === 'applied' &&
            event.data.instances.some(({ changes }) =>
              changes.some(({ resource, after }) => resource === 'storage' && after === 96 * mib),
            ),
        ),
    );
    // What it stores needs some blocks of its own.
    expect((await freeInside()) as number).toBeLessThanOrEqual(16 * mib);
    const [, how] = (await writeInside('over', 40)) as [number, string];
    expect(how).toBe('ENOSPC');
    await js(`fs.rmSync('/tmp/over')`);
    const list = await unit.caller.call('list', {});
    expect(list.instances[0]?.info.grant.storage).toBe(96 * mib);
  });

  test('M-A5: a caller who waits is answered when there is room', async () => {
    const answer = resize(48, 20_000);
    await js(`fs.rmSync('/tmp/more')`);
    expect(await answer).toMatchObject({ status: 'applied', after: 48 * mib });
  });

  test('M-A5: the disk has back what was deleted', async () => {
    await resize(160);
    await writeInside('large', 100);
    const full = onDisk();
    expect(full).toBeGreaterThanOrEqual(100 * mib);
    await js(`fs.rmSync('/tmp/large')`);
    await unit.caller.call('trim', { id: started.instance.id });
    expect(onDisk()).toBeLessThan(full - 90 * mib);
  });

  test('M-A5: what was deleted and is then claimed is the disk’s again at once', async () => {
    await writeInside('large', 100);
    const full = onDisk();
    await js(`fs.rmSync('/tmp/large')`);
    expect(await resize(64)).toMatchObject({ status: 'applied', after: 64 * mib });
    expect(onDisk()).toBeLessThan(full - 90 * mib);
    await resize(160);
  });

  test('M-A5: it is given back without being asked for, after a while', async () => {
    await writeInside('large', 60);
    const full = onDisk();
    await js(`fs.rmSync('/tmp/large')`);
    await eventually(() => onDisk() < full - 50 * mib);
  });

  test('the grant that it is told is the size that holds', async () => {
    await resize(128);
    await eventually(
      async () =>
        (await js(
          `(() => { const { storage, phase } = JSON.parse(fs.readFileSync(process.env.BELLOWS_GRANT_FILE)); return storage + ' ' + phase; })()`,
        )) === '128MiB current',
    );
  });

  test('more than there can ever be is infeasible', async () => {
    expect(await resize(20 * 1024)).toMatchObject({ status: 'infeasible', after: 128 * mib });
  });

  test('more than its memory can be stored: it stays alive, and the pages are its own, and given up when they are needed', async () => {
    const grant = { memory: mebibytes(96), storage: mebibytes(400) };
    const small = await start(unit, functionSpec(code, { grant }));
    const cacheBytes = async (): Promise<number> => {
      const { instances } = await unit.caller.call('measure', {});
      const usage = instances.find(({ id }) => id === small.instance.id)!.usage;
      return usage.memoryBytes - usage.workingSetBytes;
    };
    const before = await cacheBytes();
    const write = `(() => { const fd = fs.openSync('/tmp/large', 'w');
      for (let done = 0; done < COUNT; done += 1) fs.writeSync(fd, Buffer.alloc(1 << 20, 7));
      fs.fsyncSync(fd); fs.closeSync(fd); return fs.statSync('/tmp/large').size; })()`;
    expect(await run(small.endpoint, write.replace('COUNT', '20'))).toEqual({ value: 20 * mib });
    expect(await cacheBytes()).toBeGreaterThan(before + 10 * mib);
    expect(await run(small.endpoint, write.replace('COUNT', '300'))).toEqual({ value: 300 * mib });
    const { instances } = await unit.caller.call('measure', {});
    const usage = instances.find(({ id }) => id === small.instance.id)!.usage;
    expect(usage.oomKills).toBe(0);
    expect(usage.workingSetBytes).toBeLessThan(96 * mib);
    await stop(unit, small.instance.id);
  }, 60_000);

  describe('M-E8: code that wants the claim', () => {
    test.each([
      ['sees nothing of it', `fs.readdirSync('/tmp').join()`, ''],
      ['finds nothing above it', `fs.existsSync('/tmp/../.claim') || fs.existsSync('/.claim')`, false],
      ['has no device to read', `fs.readdirSync('/dev').some((name) => name.startsWith('loop'))`, false],
      ['can make no device', `cp.spawnSync('mknod', ['/tmp/loop', 'b', '7', '0']).status === 0`, false],
      [
        'can not mount it again',
        `cp.spawnSync('mount', ['-o', 'remount,size=1g', '/tmp']).status === 0`,
        false,
      ],
      ['can not unmount it', `cp.spawnSync('umount', ['-l', '/tmp']).status === 0`, false],
      [
        'gets no rights from a file in it',
        `(() => { fs.copyFileSync('/usr/bin/id', '/tmp/id'); fs.chmodSync('/tmp/id', 0o4755); return cp.execFileSync('/tmp/id', ['-u']).toString().trim() === String(process.getuid()); })()`,
        true,
      ],
    ])('%s', async (_what, text, expected) => {
      await js(`for (const name of fs.readdirSync('/tmp')) fs.rmSync('/tmp/' + name)`);
      expect(await js(text)).toBe(expected);
    });

    test('fills it with empty files: names end where the space does, and others go on', async () => {
      const other = await start(unit, functionSpec(code, { grant: { storage: mebibytes(64) } }));
      await resize(16);
      expect(
        await js(`(() => { let made = 0; try { for (;;) { fs.writeFileSync('/tmp/' + 'n'.repeat(200) + made, ''); made += 1; } }
          catch (error) { return error.code; } })()`),
      ).toBe('ENOSPC');
      expect(await run(other.endpoint, `fs.writeFileSync('/tmp/mine', 'x'.repeat(1 << 20))`)).toEqual({
        value: null,
      });
      await stop(unit, other.instance.id);
    }, 60_000);
  });
});

suiteNeeding('storage where no file systems can be made', missing, () => {
  test('M-A5: it is in memory, changes live both ways all the same, and the agent says so', async () => {
    // mkfs.ext4 is in /usr/sbin.
    const unit = await startUnit({ env: { PATH: '/usr/bin' } });
    onTestFinished(() => stopUnit(unit));
    await ensureTenant(unit);
    const { capabilities } = await unit.caller.call('hello', {});
    expect(capabilities.notEnforced.map(({ what }) => what).join()).toContain('scratch space on disk');
    const code = writeCode(unit, 'probe', evalHandler);
    const { instance, endpoint } = await start(
      unit,
      functionSpec(code, { grant: { storage: mebibytes(16) } }),
    );
    const size = `(() => { const { bsize, blocks } = fs.statfsSync('/tmp'); return bsize * blocks; })()`;
    const resizeTo = async (storageMib: number): Promise<ResourceChange | undefined> => {
      const { instances } = await unit.caller.call('resize', {
        tenants: [],
        instances: [{ id: instance.id, grant: { ...defaultRequest, storage: mebibytes(storageMib) } }],
        waitMs: 0,
      });
      return instances[0]?.changes.find(({ resource }) => resource === 'storage');
    };
    expect(await run(endpoint, size)).toEqual({ value: 16 * mib });
    expect(await resizeTo(32)).toMatchObject({ status: 'applied', before: 16 * mib, after: 32 * mib });
    await run(endpoint, `fs.writeFileSync('/tmp/file', Buffer.alloc(12 << 20))`);
    expect(await resizeTo(8)).toMatchObject({ status: 'deferred', after: 32 * mib });
    await run(endpoint, `fs.rmSync('/tmp/file')`);
    await eventually(async () => (await run(endpoint, size)).value === 8 * mib);
    await stop(unit, instance.id);
  });
});

suiteNeeding('storage that is left', missing, () => {
  test('nothing is left after a stop: no image, no device, no mount', async () => {
    const unit = await startUnit();
    onTestFinished(() => stopUnit(unit));
    await ensureTenant(unit);
    const code = writeCode(unit, 'probe', evalHandler);
    const { instance, endpoint } = await start(unit, functionSpec(code));
    await run(endpoint, `fs.writeFileSync('/tmp/file', Buffer.alloc(32 << 20))`);
    expect(images(unit)).toHaveLength(1);
    await stop(unit, instance.id);
    expect(images(unit)).toEqual([]);
    await unit.caller.call('shutdown', { graceMs: 1000 });
    expect(tracesOf(unit).mounts).toEqual([]);
    await eventually(() => devices(unit).length === 0);
    expect(existsSync(join(unit.data, 'scratch-images'))).toBe(false);
  });

  test('an agent that is killed leaves its instances their storage, and the next one takes it over with its size and removes the rest', async () => {
    const unit = await startUnit();
    onTestFinished(() => stopUnit(unit));
    await ensureTenant(unit);
    const code = writeCode(unit, 'probe', evalHandler);
    const kept = await start(unit, functionSpec(code, { grant: { storage: mebibytes(80) } }));
    const lost = await start(unit, functionSpec(code));
    await run(kept.endpoint, `fs.writeFileSync('/tmp/mine', 'still here')`);
    await unit.caller.call('setPool', { size: 1 });
    await eventually(async () => (await unit.caller.call('list', {})).poolReady === 1);
    expect(images(unit)).toHaveLength(3);
    await kill(unit.agent);
    process.kill(lost.instance.pid, 'SIGKILL');
    await startAgent(unit);
    expect(images(unit)).toHaveLength(1);
    expect(await run(kept.endpoint, `fs.readFileSync('/tmp/mine', 'utf8')`)).toEqual({ value: 'still here' });
    const { instances } = await unit.caller.call('resize', {
      tenants: [],
      instances: [{ id: kept.instance.id, grant: { ...defaultRequest, storage: mebibytes(40) } }],
      waitMs: 0,
    });
    expect(instances[0]?.changes.find(({ resource }) => resource === 'storage')).toMatchObject({
      status: 'applied',
      before: 80 * mib,
      after: 40 * mib,
    });
    await unit.caller.call('shutdown', { graceMs: 1000 });
    expect(tracesOf(unit)).toMatchObject({ processes: [], mounts: [] });
    await eventually(() => devices(unit).length === 0);
  });
});
