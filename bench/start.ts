// Cold starts: the first answer of a function that never ran, with a warm pool and without, beside `node -e 0`
// with the same Node in the same run. Through the function's URL, from request to the whole answer.
import { spawnSync } from 'node:child_process';
import { zipOf } from '../tests/support/archives.ts';
import { Bellows } from '../tests/support/bellows.ts';
import { ms, percentile, times, type Bench } from './figure.ts';

const functions = 20;

async function firstAnswers(args: readonly string[], pauseMs: number): Promise<number[]> {
  const bellows = await Bellows.start({ args: ['--no-examples', ...args] });
  try {
    const archive = await zipOf({
      'index.mjs': 'export const handler = async () => ({ ok: true });',
      'bellows.json': '{"kind":"function","handler":"index.handler","url":true}',
    });
    for (let n = 0; n < functions; n += 1) await bellows.v1('PUT', `/workloads/default/cold-${n}`, archive);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const samples: number[] = [];
    for (let n = 0; n < functions; n += 1) {
      const began = performance.now();
      const answer = await fetch(`${bellows.url}/w/default/cold-${n}/`);
      const text = await answer.text();
      samples.push(performance.now() - began);
      if (text !== '{"ok":true}') throw new Error(`cold-${n} answered ${answer.status}: ${text}`);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    return samples;
  } finally {
    await bellows.stop();
  }
}

export const start: Bench = {
  what: `first answer of ${functions} functions that never ran`,
  run: async () => {
    const node: number[] = [];
    const spawnNode = (): void => {
      const began = performance.now();
      spawnSync(process.execPath, ['-e', '0']);
      node.push(performance.now() - began);
    };
    for (let n = 0; n < functions; n += 1) spawnNode();
    // A pause in which the pool is filled again, so that every sample finds a warm process.
    const pooled = await firstAnswers([], 400);
    const unpooled = await firstAnswers(['--pool', '0'], 100);
    for (let n = 0; n < functions; n += 1) spawnNode();
    const bare = percentile(node, 0.5);
    const withPool = percentile(pooled, 0.5);
    const without = percentile(unpooled, 0.5);
    return [
      { name: '`node -e 0`, median', value: ms(bare) },
      { name: 'cold start with a warm pool, median', value: ms(withPool) },
      { name: 'cold start with a warm pool, p95', value: ms(percentile(pooled, 0.95)) },
      { name: 'cold start without a pool, median', value: ms(without) },
      {
        name: 'with a warm pool / `node -e 0`',
        value: times(withPool / bare),
        aim: '<= 0.5 ×',
        met: withPool / bare <= 0.5,
      },
      {
        name: 'without a pool / `node -e 0`',
        value: times(without / bare),
        aim: '<= 2 ×',
        met: without / bare <= 2,
      },
    ];
  },
};
