// The image of virtual machines: made of packages, the same from the same, mended when it is damaged, and started: what
// the agent says of its machine, and what a program inside finds there.
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { gib } from '../../src/base/quantity.ts';
import { buildGuestImage, defaultCacheDirectory } from '../../src/units/vm/image/build.ts';
import type { CpioEntry } from '../../src/units/vm/image/cpio.ts';
import { guestAgentFiles } from '../../src/units/vm/image/guest-agent.ts';
import { guestImage } from '../../src/units/vm/image/guest-image.ts';
import { sha256OfFile } from '../../src/units/vm/image/packages.ts';
import type { GuestImage } from '../../src/units/vm/image/port.ts';
import { suiteNeeding } from '../support/needs.ts';
import { GuestMachine, missingForGuests } from './guest-machine.ts';

/** With its download, on a machine that is busy with much else. */
const buildTimeoutMs = 10 * 60_000;
/** A unit of the default size. */
const provisionedBytes = 1 * gib;

suiteNeeding('the image of virtual machines', missingForGuests(), () => {
  let directory: string;
  let image: GuestImage;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'bellows-vm-image-'));
    image = await buildGuestImage();
  }, buildTimeoutMs);
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it(
    'is the same, byte for byte, when it is made anew from the same packages',
    async () => {
      // Only what was downloaded comes along.
      cpSync(join(defaultCacheDirectory(), 'packages'), join(directory, 'packages'), { recursive: true });
      const steps = new Set<string>();
      const fractions: number[] = [];
      const again = await buildGuestImage({
        cacheDirectory: directory,
        onProgress: ({ step, fraction }) => {
          steps.add(step);
          fractions.push(fraction);
        },
      });
      expect(again.hash).toBe(image.hash);
      for (const part of ['kernel', 'initrd', 'root'] as const) {
        expect(again[part]).not.toBe(image[part]);
        expect(await sha256OfFile(again[part]), part).toBe(await sha256OfFile(image[part]));
      }
      expect([...steps]).toEqual(['packages', 'unpack', 'compress', 'agent']);
      expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
      expect(fractions.at(-1)).toBe(1);
    },
    buildTimeoutMs,
  );

  it(
    'is made anew when a file of it is damaged, which is told, and is then as before',
    async () => {
      const options = { cacheDirectory: directory };
      const before = await buildGuestImage(options);
      const parts = ['initrd', 'root'] as const;
      const sums = await Promise.all(parts.map((part) => sha256OfFile(before[part])));
      for (const part of parts) truncateSync(before[part], statSync(before[part]).size - 1);
      const told: string[] = [];
      const mended = await buildGuestImage({ ...options, onProgress: ({ text }) => told.push(text) });
      for (const part of parts) expect(told.join('\n')).toContain(`${before[part]} is damaged`);
      expect(mended).toEqual(before);
      expect(await Promise.all(parts.map((part) => sha256OfFile(mended[part])))).toEqual(sums);
    },
    buildTimeoutMs,
  );

  it('can be taken as an image of one own, and then changed', async () => {
    const own = mkdtempSync(join(directory, 'own-'));
    for (const part of ['kernel', 'initrd', 'root'] as const) copyFileSync(image[part], join(own, part));
    const taken = await guestImage({ ownDirectory: own });
    expect(taken.kernel).toBe(join(own, 'kernel'));
    expect(taken.commandLine).toBe(image.commandLine);
  });
});

const facts = z.object({
  availableBytes: z.number(),
  sandboxUser: z.string(),
  controllers: z.string(),
  certificates: z.number(),
  resolver: z.string(),
  shaped: z.string(),
  rootWritable: z.boolean(),
  setUserIdPrograms: z.array(z.string()),
  missingLibraries: z.array(z.string()),
  openFiles: z.string(),
});

suiteNeeding('a machine that is started from the image', missingForGuests(), () => {
  let machine: GuestMachine;
  let found: z.infer<typeof facts>;

  beforeAll(async () => {
    const image = await buildGuestImage();
    machine = await GuestMachine.boot({
      ramBytes: provisionedBytes + image.overheadBytes,
      extra: await agentAndProbe(),
    });
  }, buildTimeoutMs);
  afterAll(async () => {
    await machine?.close();
  });

  it('has an agent that answers on the serial port, and enforces everything', async () => {
    const { capabilities } = await machine.link.call('hello', {}, { timeoutMs: 90_000 });
    expect(capabilities).toMatchObject({ cgroup: 'v2', sandbox: 'bubblewrap', notEnforced: [] });
  }, 120_000);

  it('says nothing on its console but what its agent logs', async () => {
    found = await probed(machine);
    // Without what the firmware clears the screen by.
    const lines = stripVTControlCharacters(machine.console())
      .split(/\r?\n/)
      .filter((line) => line !== '' && !line.startsWith('{') && !line.startsWith(mark));
    // What QEMU's firmware prints before the kernel runs.
    expect(lines.filter((line) => !/SeaBIOS|iPXE|Booting from ROM/.test(line))).toEqual([]);
  }, 120_000);

  it('has all of its provisioned memory to give, beside what the kernel and the agent take', () => {
    expect(found.availableBytes).toBeGreaterThanOrEqual(provisionedBytes);
    // And little beyond: the overhead is measured, not guessed.
    expect(found.availableBytes).toBeLessThan(provisionedBytes * 1.1);
  });

  it('runs programs in sandboxes as users beyond all usual numbers', () => {
    expect(found.sandboxUser).toBe('1900000123:1900000123');
  });

  it('hands all controllers down from the top of its groups', () => {
    expect(found.controllers.split(' ').sort()).toEqual(['cpu', 'cpuset', 'io', 'memory', 'pids']);
  });

  it('trusts the usual certificates and resolves names by the host', () => {
    expect(found.certificates).toBeGreaterThan(100);
    expect(found.resolver).toBe('10.0.2.3');
  });

  it('can limit bandwidth, with modules that load when they are asked for', () => {
    expect(found.shaped).toMatch(/qdisc tbf .* rate 8Mbit/);
  });

  it('has a root that nobody can write, and no program in it to become another user by', () => {
    expect(found.rootWritable).toBe(false);
    expect(found.setUserIdPrograms).toEqual([]);
  });

  it('has every library that what it is for needs', () => {
    expect(found.missingLibraries).toEqual([]);
  });

  it('lets the agent hold as many files as a gateway may need', () => {
    expect(found.openFiles).toBe('1048576');
  });
});

/** What the probe's one line begins with on the console. */
const mark = 'PROBE ';

async function probed(machine: GuestMachine): Promise<z.infer<typeof facts>> {
  for (;;) {
    const line = new RegExp(`^${mark}(.*\\})\\r?$`, 'm').exec(machine.console())?.[1];
    if (line !== undefined) return facts.parse(JSON.parse(line));
    await sleep(100);
  }
}

/** The agent as it is, and beside it in its process a probe. */
async function agentAndProbe(): Promise<CpioEntry[]> {
  const agent = (await guestAgentFiles('bellows')).find(({ path }) => path === 'bellows/agent/main.js');
  if (agent === undefined) throw new Error('the agent has no main.js');
  const probe = readFileSync(join(import.meta.dirname, 'fixtures/guest-probe.js'));
  const main = "import './agent.js';\nimport './probe.js';\n";
  const file = (name: string, content: Uint8Array): CpioEntry => ({
    path: `bellows/agent/${name}`,
    type: 'file',
    mode: 0o644,
    content,
  });
  return [
    { ...agent, path: 'bellows/agent/agent.js' },
    file('probe.js', probe),
    file('main.js', Buffer.from(main)),
  ];
}
