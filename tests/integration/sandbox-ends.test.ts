// A sandbox that ends while it is made, by nobody's code: the start goes on in another, and the log tells.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { childrenOf } from '../../src/sys/process.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  evalHandler,
  functionSpec,
  isRoot,
  run,
  start,
  startUnit,
  stop,
  stopUnit,
  writeCode,
} from './agent-process.ts';

/** What the agent says when it makes another. */
const word = 'a sandbox could not be made; another is';
/** It is killed as soon as it is seen; on a busy machine it may have begun by then, and there is another try. */
const tries = 20;

suiteNeeding('a sandbox that is killed', isRoot ? undefined : 'root is needed for sandboxes', () => {
  test('before its program began is made once more, and the instance serves', async () => {
    const unit = await startUnit();
    onTestFinished(() => stopUnit(unit));
    const code = writeCode(unit, 'probe', evalHandler);
    const agent = unit.agent.pid!;
    let met = false;
    for (let tried = 0; tried < tries && !met; tried += 1) {
      const before = new Set(childrenOf(agent).map(({ pid }) => pid));
      const spec = functionSpec(code);
      let outcome: 'under way' | 'started' | 'failed' = 'under way';
      const started = start(unit, spec);
      started.then(
        () => (outcome = 'started'),
        () => (outcome = 'failed'),
      );
      for (let killed = false; !killed && outcome === 'under way'; await nextTurn()) {
        const monitor = childrenOf(agent).find(({ pid }) => !before.has(pid));
        if (monitor === undefined) continue;
        process.kill(monitor.pid, 'SIGKILL');
        killed = true;
      }
      const instance = await started.catch(() => undefined);
      met = unit.log.includes(word);
      if (met) {
        expect(unit.log).toContain('The sandbox could not be made: ');
        expect(await run(instance!.endpoint, '1 + 1')).toEqual({ value: 2 });
      }
      if (instance !== undefined) await stop(unit, spec.id);
    }
    expect(met, unit.log).toBe(true);
  });
});
