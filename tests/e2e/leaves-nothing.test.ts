// An orderly stop leaves no process, group, mount or socket; two Bellows beside each other do not meet.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { deployStatefulApp } from '../support/apps.ts';
import { Bellows } from '../support/bellows.ts';
import { groupDirectory, groupsNamed, mountsBelow, processesMentioning } from '../support/kernel.ts';

test('Ctrl-C ends everything: no process, no group, no mount, no socket file is left', async () => {
  const bellows = await Bellows.start();
  await deployStatefulApp(bellows);
  const [instance] = await bellows.instances();
  const rootGroup = groupDirectory(instance!.pid, 'memory')
    .split('/')
    .find((part) => part.startsWith('bellows'));
  expect(rootGroup).toBeDefined();
  expect(groupsNamed(rootGroup!).length).toBeGreaterThan(0);
  expect(await bellows.stop({ keepData: true })).toBe(0);
  expect(processesMentioning(bellows.dataDirectory)).toEqual([]);
  expect(existsSync(`/proc/${instance!.pid}`)).toBe(false);
  expect(groupsNamed(rootGroup!)).toEqual([]);
  expect(mountsBelow(bellows.dataDirectory)).toEqual([]);
  const run = join(bellows.dataDirectory, 'run');
  expect(
    existsSync(run)
      ? readdirSync(run, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.sock'))
      : [],
  ).toEqual([]);

  // The same data directory starts again with what was deployed.
  const again = await Bellows.start({ dataDirectory: bellows.dataDirectory });
  expect((await fetch(`${again.url}/w/default/stateful/state`)).status).toBe(200);
  await again.stop();
  rmSync(bellows.dataDirectory, { recursive: true, force: true });
});

test('an orderly stop ends everything though somebody has deleted the data directory, and says so', async () => {
  const bellows = await Bellows.start();
  await deployStatefulApp(bellows);
  const [instance] = await bellows.instances();
  const rootGroup = groupDirectory(instance!.pid, 'memory')
    .split('/')
    .find((part) => part.startsWith('bellows'));
  // What is mounted below it can not be deleted; the rest is.
  spawnSync('rm', ['-rf', bellows.dataDirectory]);
  expect(existsSync(join(bellows.dataDirectory, 'supervisor.lock'))).toBe(false);
  expect(await bellows.stop({ keepData: true })).toBe(0);
  expect(bellows.output).toContain('was deleted while Bellows ran');
  expect(bellows.output).not.toContain('could not end all instances');
  expect(processesMentioning(bellows.dataDirectory)).toEqual([]);
  expect(existsSync(`/proc/${instance!.pid}`)).toBe(false);
  expect(groupsNamed(rootGroup!)).toEqual([]);
  expect(mountsBelow(bellows.dataDirectory)).toEqual([]);
  rmSync(bellows.dataDirectory, { recursive: true, force: true });
  expect(existsSync(bellows.dataDirectory)).toBe(false);
});

test('two Bellows on one machine do not meet', async () => {
  const one = await Bellows.start();
  const two = await Bellows.start();
  try {
    await deployStatefulApp(one);
    expect(await two.instances()).toEqual([]);
    expect(await two.stop()).toBe(0);
    expect((await fetch(`${one.url}/w/default/stateful/state`)).status).toBe(200);
  } finally {
    await two.stop();
    await one.stop();
  }
});

test('a second `bellows up` on the same data directory, or on a port in use, says so and harms nothing', async () => {
  const bellows = await Bellows.start();
  try {
    await expect(Bellows.start({ dataDirectory: bellows.dataDirectory })).rejects.toThrow(
      /already|in use|running/i,
    );
    await expect(Bellows.start({ port: bellows.port })).rejects.toThrow(/port|in use/i);
    expect((await fetch(`${bellows.url}/healthz`)).status).toBe(200);
  } finally {
    await bellows.stop();
  }
});
