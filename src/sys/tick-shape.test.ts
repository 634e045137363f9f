import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** Answers which compiled `process.nextTick` outlives a collection while no tick waits: V8 drops what was made for a shape that is gone. */
function outlives(keep: boolean): boolean {
  const script = `
    import { keepTickShape } from ${JSON.stringify(fileURLToPath(new URL('tick-shape.ts', import.meta.url)))};
    import { setImmediate as turn } from 'node:timers/promises';
    ${keep ? 'keepTickShape();' : ''}
    const nothing = () => {};
    const isOptimized = () => (%GetOptimizationStatus(process.nextTick) & 8) !== 0;
    for (let time = 0; time < 3; time += 1) {
      for (let collection = 0; collection < 3; collection += 1) {
        await turn();
        gc();
      }
      if (time === 2) break;
      %PrepareFunctionForOptimization(process.nextTick);
      for (let tick = 0; tick < 100; tick += 1) process.nextTick(nothing);
      %OptimizeFunctionOnNextCall(process.nextTick);
      process.nextTick(nothing);
      if (!isOptimized()) throw new Error('V8 did not compile it');
    }
    console.log(isOptimized());`;
  const flags = ['--expose-gc', '--allow-natives-syntax', '--input-type=module', '--eval'];
  return JSON.parse(execFileSync(process.execPath, [...flags, script], { encoding: 'utf8' })) as boolean;
}

test('what V8 made of nextTick outlives a collection of an idle process', () => {
  expect(outlives(true)).toBe(true);
});

test('without, it does not: when this fails Node has no need of it any more', () => {
  expect(outlives(false)).toBe(false);
});
