// The Cgroup contract on a kernel that has all of v2: Debian's, in a virtual machine, whatever kernel this machine has.
// Each of the contract's tests runs inside and is a test here, with what it said.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { cgroupContract } from '../../src/agent/cgroup/contract.ts';
import type { CgroupCapabilities } from '../../src/agent/cgroup/port.ts';
import { mib } from '../../src/base/quantity.ts';
import { suiteNeeding } from '../support/needs.ts';
import { GuestMachine, missingForGuests } from './guest-machine.ts';

/** What Debian's kernel gives, so what is promised of a guest: fewer would leave tests of the contract out. */
const capabilities: CgroupCapabilities = {
  version: 'v2',
  memoryLimit: true,
  cpuLimit: true,
  pidsLimit: true,
  freeze: true,
  exactUsage: true,
};
/** Each test starts a Node process or two, which takes an emulated processor a second. */
const contractTimeoutMs = 300_000;

const outcome = z.union([
  z.object({ title: z.string(), error: z.string().nullable() }),
  z.object({ capabilities: z.unknown() }),
  z.object({ done: z.literal(true) }),
]);

suiteNeeding('the contract of cgroup v2, in a virtual machine', missingForGuests(), () => {
  let machine: GuestMachine | undefined;
  const errors = new Map<string, string | null>();
  let found: unknown;

  beforeAll(async () => {
    machine = await GuestMachine.boot({ ramBytes: 1024 * mib, agent: 'contract-in-guest.ts' });
    const deadline = Date.now() + contractTimeoutMs;
    for (let done = false; !done;) {
      await sleep(500);
      for (const line of machine.console().split(/\r?\n/)) {
        if (!line.startsWith('bellows-contract ') || !line.endsWith('}')) continue;
        const said = outcome.parse(JSON.parse(line.slice('bellows-contract '.length)));
        if ('title' in said) errors.set(said.title, said.error);
        else if ('capabilities' in said) found = said.capabilities;
        else done = true;
      }
      if (Date.now() > deadline)
        throw new Error(`the contract did not end; the console: ${machine.console().slice(-2000)}`);
    }
  }, contractTimeoutMs + 120_000);

  afterAll(() => machine?.close());

  test('all of v2 is there', () => {
    expect(found).toEqual(capabilities);
  });

  for (const { title } of cgroupContract(capabilities)) {
    test(title, () => {
      expect(errors.has(title)).toBe(true);
      const error = errors.get(title);
      if (typeof error === 'string') throw new Error(error);
    });
  }
});
