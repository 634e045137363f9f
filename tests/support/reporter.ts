import type { Reporter, TestCase, TestModule, TestRunEndReason, TestSuite, Vitest } from 'vitest/node';

interface Skip {
  readonly name: string;
  readonly reason: string;
  readonly tests: number;
}

/** Files that took longer are named: the run has ninety minutes on two cores (.ci/run), and this is where they go. */
const longMs = 20_000;

/**
 * The last lines of a run: which files took long, what was skipped and why, what failed (once more: the report of it may
 * stand thousands of lines above), then `N passed, N failed`. With CI set, a skip fails the run.
 */
export default class ClosingLines implements Reporter {
  #byName = false;

  onInit(vitest: Vitest): void {
    // `vitest -t NAME` skips all the others on purpose.
    this.#byName = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[], reason: TestRunEndReason): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
    // A stray rejection has no test of its own.
    const broken = modules.reduce((sum, module) => sum + brokenIn(module), errors.length);
    const passed = count('passed');
    const skipped = count('skipped');
    const failed = count('failed') + broken + (reason === 'interrupted' ? 1 : 0);

    const long = modules
      .map((module) => ({ name: nameOf(module), ms: module.diagnostic().duration }))
      .filter(({ ms }) => ms > longMs)
      .sort((one, other) => other.ms - one.ms);
    if (long.length > 0) {
      console.log('\nTook longest:');
      for (const { name, ms } of long) console.log(`  ${Math.round(ms / 1000)} s ${name}`);
    }

    const skips = this.#byName ? [] : modules.flatMap((module) => skipsOf(module));
    if (skips.length > 0) {
      console.log('\nSkipped:');
      for (const skip of skips) console.log(`  ${skip.name} (${skip.tests} tests): ${skip.reason}`);
      if (process.env['CI']) {
        console.log('CI is set: every suite has to run, so these skips fail the run.');
        process.exitCode = 1;
      }
    }
    if (failed > 0) {
      console.log('\nFailed:');
      for (const { name, cause } of [
        ...modules.flatMap((module) => failuresOf(module)),
        ...errors.map(stray),
      ])
        console.log(`  ${name}: ${cause}`);
    }
    if (passed + failed === 0) process.exitCode = 1;
    console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  }
}

/**
 * Files that did not load and suites whose hooks threw, once each, and only where nothing in them is counted as failed
 * already: the number says how many failures there are to look at.
 */
function brokenIn(node: TestModule | TestSuite): number {
  const inside = node.children
    .array()
    .reduce((sum, child) => sum + (child.type === 'suite' ? brokenIn(child) : 0), 0);
  if (inside > 0 || node.errors().length === 0) return inside;
  return [...node.children.allTests('failed')].length > 0 ? 0 : 1;
}

interface Failure {
  readonly name: string;
  readonly cause: string;
}

/** Tests that failed, and files and suites that failed for themselves. */
function failuresOf(module: TestModule): Failure[] {
  const walk = (node: TestModule | TestSuite): Failure[] => [
    ...node.errors().map(({ message }) => ({
      name: node.type === 'suite' ? `${nameOf(module)} > ${node.fullName}` : nameOf(module),
      cause: firstLineOf(message),
    })),
    ...[...node.children].flatMap((child) => {
      if (child.type === 'suite') return walk(child);
      const result = child.result();
      if (result.state !== 'failed') return [];
      return [
        {
          name: `${nameOf(module)} > ${child.fullName}`,
          cause: firstLineOf(result.errors[0]?.message ?? 'no reason given'),
        },
      ];
    }),
  ];
  return walk(module);
}

function stray(error: unknown): Failure {
  const message = (error as { readonly message?: unknown } | null)?.message;
  return { name: 'outside of tests', cause: firstLineOf(String(message ?? error)) };
}

function nameOf(module: TestModule): string {
  return `${module.project.name}: ${module.relativeModuleId}`;
}

function firstLineOf(text: string): string {
  return text.split('\n', 1)[0]!;
}

/** The outermost skipped suites of a file, and the skipped tests outside of them. */
function skipsOf(module: TestModule): Skip[] {
  const walk = (node: TestModule | TestSuite): Skip[] =>
    [...node.children].flatMap((child): Skip[] => {
      if (child.type === 'test') return child.result().state === 'skipped' ? [skipOf(module, child)] : [];
      return child.state() === 'skipped' ? [skipOf(module, child)] : walk(child);
    });
  return walk(module);
}

function skipOf(module: TestModule, node: TestCase | TestSuite): Skip {
  const marked = /^(.*?) \[skipped: (.*?)\]/.exec(node.fullName);
  const tests = node.type === 'test' ? [node] : [...node.children.allTests()];
  const note = tests.map((test) => test.result()).find((result) => result.state === 'skipped');
  return {
    name: `${nameOf(module)} > ${marked?.[1] ?? node.fullName}`,
    reason: marked?.[2] ?? (note?.state === 'skipped' ? note.note : undefined) ?? 'no reason given',
    tests: tests.length,
  };
}
