// Functions of a gateway that just came: what others tell it before the controller has told it of the functions.
import { expect, test } from 'vitest';
import { systemClock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import type { LendingWord } from '../../protocol/beside.ts';
import type { Resources } from '../../model/resources.ts';
import type { InstanceRoute } from '../../protocol/routes.ts';
import { defaultInvokeTuning } from '../config.ts';
import type { InstanceLinkHandlers } from '../links/instance-link.ts';
import { Functions } from './functions.ts';
import { Invocation } from './invocation.ts';
import { route } from './testing/bench.ts';

const id = 'i-1' as InstanceId;
const other = {};

/** What it says to others, and is sent, when one call comes; every instance is at home with it. */
function calledAfter(words: readonly LendingWord[]): string[] {
  const did: string[] = [];
  let opened: InstanceLinkHandlers | undefined;
  const functions = new Functions(
    {
      clock: systemClock,
      openLink: (_id, _endpoint, handlers) => {
        opened = handlers;
        return { sendWritten: () => did.push('sent') > 0, pause() {}, resume() {}, close() {} };
      },
      acquire: () => new Promise(() => {}),
      spare: () => {},
      discard: () => {},
      freeze: async () => {},
      thaw: async () => {},
      logBroken: async () => Buffer.alloc(0),
      idle: () => {},
      lending: () => ({
        isHome: () => true,
        homeOf: () => undefined,
        say: (_, _id, word) => void did.push(word),
        sayToHomes: () => {},
      }),
      counted: () => {},
      hearOthers: async () => {},
    },
    defaultInvokeTuning,
  );
  for (const say of words) functions.lending(other, { workload: route.key, id, say });
  functions.onChange({ change: 'workload', workload: route });
  const instance: InstanceRoute = {
    id,
    workload: route.key,
    generation: route.generation,
    endpoint: {} as Endpoint,
    starting: true,
    frozen: false,
    grant: { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } as Resources,
  };
  functions.onChange({ change: 'instance', instance });
  opened?.onOpen();
  did.length = 0;
  functions.pool(route.key)?.submit(new Invocation('call', { onResult: () => {}, onFailure: () => {} }));
  functions.pool(route.key)?.close();
  return did;
}

test('an instance that another gateway has is asked for, also when that was said before its function was known', () => {
  expect(calledAfter(['holds'])).toEqual(['recalls']);
});

test('one that was given back before its function was known is used', () => {
  expect(calledAfter([])).toEqual(['sent']);
  expect(calledAfter(['holds', 'returns'])).toEqual(['sent']);
});
