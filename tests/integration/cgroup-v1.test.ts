// The v1 groups of the running kernel, below a root group of this test's own.
import { randomBytes } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { test } from 'vitest';
import { cgroupSuite } from '../../src/agent/cgroup/testing/suite.ts';
import { parseMounts } from '../../src/agent/cgroup/mounts.ts';
import { CgroupV1 } from '../../src/agent/cgroup/v1.ts';

const mounts = parseMounts(readFileSync('/proc/self/mountinfo', 'utf8')).v1;

function whyNot(): string | null {
  if (!mounts.has('memory')) return 'this machine has no cgroup v1 memory controller mounted';
  try {
    for (const directory of mounts.values()) accessSync(directory, constants.W_OK);
    return null;
  } catch {
    return 'the cgroup v1 hierarchies are not writable for this user';
  }
}

const reason = whyNot();
if (reason === null) {
  cgroupSuite(
    'cgroup v1',
    () => new CgroupV1({ mounts, rootName: `bellows-test-${randomBytes(4).toString('hex')}` }),
  );
} else {
  test('the contract of cgroup v1', (context) => context.skip(reason));
}
