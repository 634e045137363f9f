// The Cgroup contract as a suite of this machine's test runner.
import { describe, test } from 'vitest';
import { cgroupContract } from '../contract.ts';
import type { Cgroup } from '../port.ts';

/** @param make gives one with a root group of its own for each test. What is missing stands in the suite's title. */
export function cgroupSuite(name: string, make: () => Cgroup): void {
  const { capabilities } = make();
  const missing = Object.entries(capabilities).flatMap(([what, has]) => (has === false ? [what] : []));
  const without = missing.length === 0 ? '' : `, which has here no ${missing.join(', ')}`;
  describe(`the contract of ${name}${without}`, () => {
    for (const { title, run } of cgroupContract(capabilities)) test(title, () => run(make()));
  });
}
