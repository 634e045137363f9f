// The v2 groups of the running kernel, below a root group of this test's own. Where the memory controller is v1's, what
// v2 has left is tested all the same: groups, freezing, killing, CPU accounting.
import { randomBytes } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { test } from 'vitest';
import { cgroupSuite } from '../../src/agent/cgroup/testing/suite.ts';
import { parseMounts } from '../../src/agent/cgroup/mounts.ts';
import { CgroupV2 } from '../../src/agent/cgroup/v2.ts';

const baseDirectory = parseMounts(readFileSync('/proc/self/mountinfo', 'utf8')).v2;

function whyNot(): string | null {
  if (baseDirectory === null) return 'this machine has no cgroup v2 mounted';
  try {
    accessSync(baseDirectory, constants.W_OK);
    return null;
  } catch {
    return 'the cgroup v2 hierarchy is not writable for this user';
  }
}

const reason = whyNot();
if (reason === null && baseDirectory !== null) {
  cgroupSuite(
    'cgroup v2',
    () => new CgroupV2({ baseDirectory, rootName: `bellows-test-${randomBytes(4).toString('hex')}` }),
  );
} else {
  test('the contract of cgroup v2', (context) => context.skip(reason ?? ''));
}
