import { expect, test } from 'vitest';
import { diagnose, type Facts } from './diagnosis.ts';

const well: Facts = {
  platform: 'linux',
  nodeVersion: 'v26.10.0',
  root: true,
  bubblewrap: true,
  cgroup: 'v2',
  openFiles: 65_536,
  mayRaisePriority: true,
  accelerator: { kind: 'kvm', why: 'a guest runs with it' },
  dataDirectoryProblem: undefined,
  running: { is: 'no', portProblem: undefined },
};
const problem = { why: 'because', solve: 'do this' };
const running = { is: 'yes', url: 'http://x', cgroup: 'v2', sandbox: 'bubblewrap', notEnforced: [] } as const;

test('a machine that has everything has no problem', () => {
  expect(diagnose(well).filter(({ level }) => level === 'problem')).toEqual([]);
});

const cases: readonly (readonly [string, Partial<Facts>, RegExp])[] = [
  ['another system', { platform: 'darwin' }, /darwin/],
  ['an old Node', { nodeVersion: 'v20.20.2' }, /v20/],
  ['no bubblewrap', { bubblewrap: false }, /bubblewrap/],
  ['no cgroup', { cgroup: 'none' }, /cgroup/],
  ['few open files', { openFiles: 256 }, /256/],
  ['a port in use', { running: { is: 'no', portProblem: problem } }, /port/],
  ['a data directory that can not be used', { dataDirectoryProblem: problem }, /data directory/],
  [
    'something not enforced',
    { running: { ...running, notEnforced: [{ what: 'memory limits', ...problem }] } },
    /memory limits/,
  ],
  ['an answer that is none', { running: { is: 'unknown', ...problem } }, /does not answer/],
];
for (const [what, facts, expected] of cases) {
  test(`${what} is one problem, with why and how to solve it`, () => {
    const problems = diagnose({ ...well, ...facts }).filter(({ level }) => level === 'problem');
    expect(problems).toHaveLength(1);
    expect(problems[0]?.what).toMatch(expected);
    expect(problems[0]?.why).toBeTruthy();
    expect(problems[0]?.solve).toBeTruthy();
  });
}

test('what is not enforced is asked of what runs, not guessed from outside', () => {
  const problems = diagnose({ ...well, bubblewrap: false, cgroup: 'none', running });
  expect(problems.filter(({ level }) => level === 'problem')).toEqual([]);
});

test('without KVM it says why, and what virtual machines cost then; without QEMU how to have them', () => {
  const noteOf = (accelerator: Facts['accelerator']): string =>
    JSON.stringify(diagnose({ ...well, accelerator }).filter(({ level }) => level === 'note'));
  expect(noteOf({ kind: 'tcg', why: 'there is no /dev/kvm' })).toMatch(/ten times.*there is no \/dev\/kvm/);
  expect(noteOf(null)).toMatch(/qemu-system-x86/);
  expect(noteOf(well.accelerator)).not.toMatch(/machines/);
});

test('without the right to run before others it says what that costs and how to have it, and nothing is wrong', () => {
  const findings = diagnose({ ...well, mayRaisePriority: false });
  expect(findings.filter(({ level }) => level === 'problem')).toEqual([]);
  expect(findings.find(({ level }) => level === 'note')?.solve).toMatch(/CAP_SYS_NICE/);
});
