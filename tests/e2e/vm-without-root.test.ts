// Virtual machines as an ordinary user runs them: no taps, loop devices and groups, but user networking, files for disks and a
// balloon all the same. What is not enforced without root is without-root.test.ts.
import { chownSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { buildGuestImage } from '../../src/units/vm/image/build.ts';
import { amountOf, deployStatefulApp } from '../support/apps.ts';
import { Bellows, eventually } from '../support/bellows.ts';
import { instanceOf, missingForMachines, privateBytesOf, unitOf } from '../support/machines.ts';
import { suiteNeeding } from '../support/needs.ts';
import { missingForOrdinaryUser, ordinaryUser, processesOfOrdinaryUser } from '../support/ordinary-user.ts';

const mib = 1024 * 1024;

suiteNeeding('virtual machines of an ordinary user', missingForMachines ?? missingForOrdinaryUser(), () => {
  let bellows: Bellows;
  const home = mkdtempSync(join(tmpdir(), 'bellows-user-'));

  beforeAll(async () => {
    const { kernel, root, initrd } = await buildGuestImage();
    const image = join(home, 'image');
    for (const [name, path] of Object.entries({ kernel, root, initrd }))
      cpSync(path, join(image, name), { dereference: true });
    chownSync(home, ordinaryUser, ordinaryUser);
    bellows = await Bellows.start({
      uid: ordinaryUser,
      // The PATH that Debian gives ordinary users: without what only root was thought to need.
      env: { HOME: home, PATH: '/usr/local/bin:/usr/bin:/bin' },
      args: ['--no-examples', '--unit', 'vm', '--pool', '1', '--guest-image', image],
      readyMs: 400_000,
    });
    await deployStatefulApp(bellows);
  }, 500_000);
  afterAll(async () => {
    await bellows.stop();
    rmSync(home, { recursive: true, force: true });
  });

  test(
    'M-A3 M-A4: an app is resized live while its WebSocket stays, and what it gives back is free on the host',
    { timeout: 240_000 },
    async () => {
      const socket = new WebSocket(`${bellows.url.replace('http', 'ws')}/w/default/stateful/hello`);
      await new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject));
      const { pid } = await unitOf(bellows, 'stateful');
      const resizeTo = async (memory: string): Promise<void> => {
        const { status, body } = await bellows.v1('PATCH', '/workloads/default/stateful?wait=60', { memory });
        expect(status, JSON.stringify(body)).toBe(200);
        expect((await unitOf(bellows, 'stateful')).granted.memory).toBe(memory);
      };
      await resizeTo('640MiB');
      const app = async (path: string) => (await fetch(`${bellows.url}/w/default/stateful/${path}`)).json();
      expect(await app('hold?mib=300')).toEqual({ heldMib: 300 });
      const full = privateBytesOf(pid);
      expect(await app('free')).toEqual({ heldMib: 0 });
      await resizeTo('192MiB');
      await eventually(() => full - privateBytesOf(pid) > 200 * mib, {
        timeoutMs: 60_000,
        what: () => `the host to get 200 MiB back, and it got ${(full - privateBytesOf(pid)) / mib}`,
      });
      const { claimed } = await unitOf(bellows, 'stateful');
      expect(amountOf('memory', claimed.memory)).toBeGreaterThan(700 * mib);
      expect((await unitOf(bellows, 'stateful')).pid).toBe(pid);
      expect(socket.readyState).toBe(WebSocket.OPEN);
      socket.terminate();
    },
  );

  test('QEMU runs as that user, and nothing of it is left after a stop', async () => {
    const { unitPid } = await instanceOf(bellows, 'stateful');
    expect(processesOfOrdinaryUser()).toContain(unitPid);
    expect(await bellows.stop({ keepData: true })).toBe(0);
    expect(processesOfOrdinaryUser()).toEqual([]);
  });
});
