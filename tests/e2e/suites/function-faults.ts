// What goes wrong in a function's code and what its caller is told of it, on whatever units it runs.
import { beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../support/bellows.ts';
import type { Functions } from '../../support/functions.ts';
import type { UnitsUnderTest } from '../../support/units.ts';

/**
 * What is run in virtual machines, where each of these costs starts of several seconds: one of each way that an instance goes
 * on or ends. The others differ from these in what the runtime says of them, and in nothing that a unit does.
 */
const inVirtualMachines = ['throw', 'exit', 'hang', 'oom', 'big', 'a module that throws'];

/** What the log tells of an invocation: a word of each line, and how its last line ends. */
interface LogOf {
  readonly words: readonly string[];
  readonly status: string;
}
const timeout = 'Status: timeout';

export function functionFaultsSuite(units: UnitsUnderTest, functions: Functions): void {
  const runHere = ([what]: readonly [string, ...unknown[]]): boolean =>
    units.kind === 'host' || inVirtualMachines.includes(what);
  const timedOut = new RegExp(`Task timed out after ${units.shortTimeoutSeconds}\\.00 seconds`);
  describe('M-D1: what goes wrong in user code is answered as Lambda does, and the next call is fine', () => {
    const code = `
      let calls = 0;
      export const handler = async (event) => {
        calls += 1;
        if (event.say) console.log(event.say);
        switch (event.do) {
          case 'throw': throw new TypeError('bad thing');
          case 'reject': return Promise.reject(Object.assign(new Error('no'), { name: 'CustomError' }));
          case 'unhandled': Promise.reject(new Error('nobody catches')); await new Promise((r) => setTimeout(r, 1000)); return;
          case 'exit': process.exit(7);
          case 'leave': process.exit(0);
          case 'abort': process.abort();
          case 'hang': await new Promise(() => setInterval(() => {}, 1000));
          case 'spin': for (;;);
          case 'oom': { const held = []; for (;;) held.push(Buffer.alloc(8 * 1024 * 1024, 1)); }
          case 'heap': { const held = []; for (;;) held.push(new Array(100000).fill({ a: held.length })); }
          case 'circular': { const a = {}; a.a = a; return a; }
          case 'big': return 'x'.repeat(7 * 1024 * 1024);
          default: return { calls };
        }
      };`;
    beforeAll(async () => {
      await functions.create('impatient', code, { Timeout: units.shortTimeoutSeconds, MemorySize: 192 });
      // Out of memory, V8 collects harder and harder before the kernel has the last word: on a busy machine that takes seconds.
      await functions.create('faulty', code, { Timeout: units.within(30), MemorySize: 192 });
    });

    const functionFor = (what: string): string =>
      what === 'hang' || what === 'spin' ? 'impatient' : 'faulty';

    const answers: readonly (readonly [string, string, RegExp, LogOf?])[] = [
      ['throw', 'TypeError', /bad thing/],
      ['reject', 'CustomError', /no/],
      ['unhandled', 'Runtime.UnhandledPromiseRejection', /nobody catches/],
      [
        'exit',
        'Runtime.ExitError',
        /^RequestId: \S+ Error: Runtime exited with error: exit status 7$/,
        {
          words: ['START', 'last words', 'exit status 7', 'END', 'REPORT'],
          status: 'Status: error\tError Type: Runtime.ExitError',
        },
      ],
      ['leave', 'Runtime.ExitError', /^RequestId: \S+ Error: Runtime exited without providing a reason$/],
      ['abort', 'Runtime.ExitError', /^RequestId: \S+ Error: Runtime exited with error: signal: aborted$/],
      [
        'hang',
        'Sandbox.Timedout',
        timedOut,
        { words: ['START', 'last words', 'timed out', 'END', 'REPORT'], status: timeout },
      ],
      [
        'spin',
        'Sandbox.Timedout',
        timedOut,
        { words: ['START', 'timed out', 'END', 'REPORT'], status: timeout },
      ],
      [
        'oom',
        'Runtime.OutOfMemory',
        /signal: killed/,
        {
          words: ['START', 'signal: killed', 'END', 'REPORT'],
          status: 'Status: error\tError Type: Runtime.OutOfMemory',
        },
      ],
      ['heap', 'Runtime.OutOfMemory', /signal: killed/],
      ['circular', 'Runtime.MarshalError', /Unable to stringify response body/],
      ['big', 'Function.ResponseSizeTooLarge', /6291556|too large|exceeded/i],
    ];
    test.for(answers.filter(runHere))(
      '%s → %s, and where the log tells the whole invocation, in order, so does the tail that is answered',
      { timeout: units.within(60_000) },
      async ([what, errorType, message, logged]) => {
        const name = functionFor(what);
        const say = logged?.words.includes('last words') === true ? 'last words' : '';
        const failed = await functions.invoke(name, { do: what, say }, { LogType: 'Tail' });
        expect(failed).toMatchObject({ status: 200, payload: { errorType } });
        expect(failed.error).toMatch(/^(Unhandled|Handled)$/);
        const { errorMessage } = failed.payload as { errorMessage: string };
        expect(errorMessage).toMatch(message);
        if (logged !== undefined) {
          const requestId = /RequestId: (\S+) /.exec(errorMessage)?.[1] ?? 'none';
          await logTells(name, requestId, logged, failed.log);
        }
        const next = await functions.invoke(name, {});
        expect(next.error).toBeUndefined();
        expect((next.payload as { calls: number }).calls).toBeGreaterThan(0);
      },
    );

    async function logTells(
      name: string,
      requestId: string,
      { words, status }: LogOf,
      log: string | undefined,
    ): Promise<void> {
      let lines: string[] = [];
      await eventually(
        async () => {
          const { stdout } = await units.bellows.cli('logs', name, '-n', '1000');
          lines = stdout.split('\n').filter((line) => line.includes(requestId));
          return lines.some((line) => line.includes('REPORT'));
        },
        { what: () => `a REPORT line of ${requestId}` },
      );
      expect(lines[0]).toContain(`START RequestId: ${requestId} Version: $LATEST`);
      expect(lines.length).toBe(words.length);
      for (const [at, word] of words.entries()) expect(lines[at]).toContain(word);
      const tail = log?.trim().split('\n') ?? [];
      expect(tail[0]).toBe(`START RequestId: ${requestId} Version: $LATEST`);
      for (const word of words) expect(tail.filter((line) => line.includes(word))).not.toEqual([]);
      expect(tail.at(-1)).toMatch(/^REPORT .*Status: /);
      expect(lines.at(-1)).toMatch(/Memory Size: 192 MB\tMax Memory Used: [1-9]\d* MB\t/);
      expect(lines.at(-1)).toContain(status);
      if (status === timeout)
        expect(lines.at(-1)).toContain(`Duration: ${units.shortTimeoutSeconds}000.00 ms`);
    }

    const inits: readonly (readonly [string, string, string, RegExp, RegExp])[] = [
      ['a module that throws', 'throw new Error("at load");', 'index.handler', /Error/, /at load/],
      ['a syntax error', 'export const handler = (;', 'index.handler', /UserCodeSyntaxError/, /./],
      ['a missing export', 'export const other = 1;', 'index.handler', /HandlerNotFound/, /handler/],
      [
        'a missing module',
        'import { createRequire } from "node:module"; createRequire(import.meta.url)("./nothing.cjs"); export const handler = 1;',
        'index.handler',
        /ImportModuleError/,
        /nothing/,
      ],
    ];
    test.each(inits.filter(runHere))('init: %s', async (what, source, handler, type, message) => {
      const name = `init-${what.replaceAll(' ', '-')}`;
      await functions.create(name, source, { Handler: handler });
      const failed = await functions.invoke(name);
      expect(failed.error).toBe('Unhandled');
      expect((failed.payload as { errorType: string }).errorType).toMatch(type);
      expect((failed.payload as { errorMessage: string }).errorMessage).toMatch(message);
      expect((await functions.invoke(name)).error).toBe('Unhandled');
    });
  });
}
