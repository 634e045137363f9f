import type { Reporter, TestCase, TestModule, TestRunEndReason, TestSuite, Vitest } from 'vitest/node';

interface Skip {
  readonly name: string;
  readonly reason: string;
  readonly tests: number;
}

/** The last lines of a run: what was skipped and why, then `N passed, N failed`. With CI set, a skip fails the run. */
export default class ClosingLines implements Reporter {
  #byName = false;

  onInit(vitest: Vitest): void {
    // `vitest -t NAME` skips all the others on purpose.
    this.#byName = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[], reason: TestRunEndReason): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
    // A file that did not load, or a hook or stray rejection that threw, has no failed test of its own.
    const broken =
      modules.flatMap((module) => [...module.errors(), ...suiteErrors(module)]).length + errors.length;
    const passed = count('passed');
    const skipped = count('skipped');
    const failed = count('failed') + broken + (reason === 'interrupted' ? 1 : 0);

    const skips = this.#byName ? [] : modules.flatMap((module) => skipsOf(module));
    if (skips.length > 0) {
      console.log('\nSkipped:');
      for (const skip of skips) console.log(`  ${skip.name} (${skip.tests} tests): ${skip.reason}`);
      if (process.env['CI']) {
        console.log('CI is set: every suite has to run, so these skips fail the run.');
        process.exitCode = 1;
      }
    }
    if (passed + failed === 0) process.exitCode = 1;
    console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  }
}

function suiteErrors(module: TestModule): unknown[] {
  return [...module.children.allSuites()].flatMap((suite) => suite.errors());
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
    name: `${module.project.name}: ${module.relativeModuleId} > ${marked?.[1] ?? node.fullName}`,
    reason: marked?.[2] ?? (note?.state === 'skipped' ? note.note : undefined) ?? 'no reason given',
    tests: tests.length,
  };
}
