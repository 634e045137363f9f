// How long a resize takes from the request to the kernel, with 20 instances running and room for the change.
// Each sample is checked: the kernel's own file must hold the new limit when the answer comes.
import { Bellows, eventually } from '../tests/support/bellows.ts';
import { archiveOf } from '../tests/support/apps.ts';
import { groupDirectory, memoryLimitOf } from '../tests/support/kernel.ts';
import { ms, percentile, type Bench, type Figure } from './figure.ts';
import { KeptClient } from './kept-client.ts';
import { transfers } from './transfer.ts';

/** One entry of `Server-Timing`: how long a stage took inside the controller. Storing and applying overlap. */
const stage = /(\w+);dur=([\d.]+)/g;
const mib = 1024 * 1024;
/** Its ten slowest are beyond the 99th percentile: of fewer it would be the luck of two or three. */
const rounds = 1_000;
/** After a start Bellows makes itself ready for more of them for 3 s; what is measured is the time after. */
const settleMs = 5_000;

export const resize: Bench = {
  what: `from the request to the kernel's file: ${rounds} changes among 20 instances, then transfers among 100`,
  run: async () => [...(await oneAmongTwenty()), ...(await transfers())],
};

async function oneAmongTwenty(): Promise<Figure[]> {
  const bellows = await Bellows.start();
  const client = new KeptClient(bellows);
  try {
    const archive = await archiveOf('tests/fixtures/stateful-app', ['ws']);
    await bellows.v1('PUT', '/workloads/default/many', archive);
    await bellows.v1('PATCH', '/workloads/default/many?wait=30', {
      scale: 19,
      memory: '128MiB',
      cpu: '100m',
    });
    await bellows.v1('PUT', '/workloads/default/one', archive);
    await eventually(async () => (await bellows.instances()).length === 20, { timeoutMs: 60_000 });
    const one = (await bellows.instances()).find((each) => each.workload.endsWith('one'))!;
    const group = groupDirectory(one.pid, 'memory');
    await new Promise((resolve) => setTimeout(resolve, settleMs));

    const single: number[] = [];
    const stages = new Map<string, number[]>();
    for (let round = 0; round < rounds; round += 1) {
      const wanted = 256 + (round % 2 === 0 ? 64 : 0) + (round % 256);
      const began = performance.now();
      const answer = await client.send<{ status: string }>('PATCH', '/workloads/default/one', {
        memory: `${wanted}MiB`,
      });
      single.push(performance.now() - began);
      for (const [, name = '', durationMs] of answer.serverTiming.matchAll(stage)) {
        stages.set(name, [...(stages.get(name) ?? []), Number(durationMs)]);
      }
      if (answer.body.status !== 'applied' || memoryLimitOf(group) !== wanted * mib) {
        throw new Error(
          `round ${round}: ${JSON.stringify(answer.body)}, and the kernel holds ${memoryLimitOf(group)}`,
        );
      }
    }
    const all: number[] = [];
    for (let round = 0; round < 50; round += 1) {
      const began = performance.now();
      await bellows.v1('PATCH', '/workloads/default/many', { memory: `${160 + round}MiB` });
      all.push(performance.now() - began);
    }
    const p99 = percentile(single, 0.99);
    return [
      { name: 'one instance among 20, p50', value: ms(percentile(single, 0.5)) },
      { name: 'one instance among 20, p99', value: ms(p99), aim: '<= 10 ms', met: p99 <= 10 },
      ...[...stages].map(([name, durations]) => ({
        name: `  of that in the controller: ${name}, p50 and p99`,
        value: `${ms(percentile(durations, 0.5))} ${ms(percentile(durations, 0.99))}`,
      })),
      { name: '19 instances in one transaction, p50', value: ms(percentile(all, 0.5)) },
      { name: '19 instances in one transaction, p99', value: ms(percentile(all, 0.99)) },
    ];
  } finally {
    client.close();
    await bellows.stop();
  }
}
