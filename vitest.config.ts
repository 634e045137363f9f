// Four kinds of tests: `unit` beside the code (seconds), `integration` against the real kernel (root), `e2e` through
// the real port with clients that nobody here wrote; those run one file at a time: they measure one machine.
// `machines` is both of the last in virtual machines. Two of its files at a time take as long, emulated on two processors.
import { defineConfig } from 'vitest/config';

const execArgv = ['--disable-warning=ExperimentalWarning'];
const inMachines = [
  'tests/e2e/vm-*.test.ts',
  'tests/integration/vm-*.test.ts',
  'tests/integration/cgroup-v2-guest.test.ts',
];

/** How long `expect.poll` looks: what comes at once comes late on a busy machine, and vitest's second was often too short. */
const expectation = { poll: { timeout: 20_000 } };

export default defineConfig({
  test: {
    reporters: ['default', './tests/support/reporter.ts'],
    teardownTimeout: 30_000,
    passWithNoTests: false,
    allowOnly: !process.env['CI'],
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'src/**/*.test.ts',
            'scripts/**/*.test.ts',
            'tests/support/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          pool: 'forks',
          execArgv,
          expect: expectation,
          testTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['tests/integration/**/*.test.ts'],
          exclude: inMachines,
          pool: 'forks',
          execArgv,
          expect: expectation,
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts'],
          exclude: inMachines,
          pool: 'forks',
          execArgv,
          expect: expectation,
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'machines',
          include: inMachines,
          pool: 'forks',
          execArgv,
          expect: expectation,
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
