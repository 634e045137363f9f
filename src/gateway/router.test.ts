import { describe, expect, test } from 'vitest';
import type { InstanceId, TenantId, WorkloadKey, WorkloadName } from '../base/ids.ts';
import type { InstanceRoute, RouteChange } from '../protocol/routes.ts';
import { route } from './router.ts';
import { RouteTable } from './table.ts';

function tableWith(...keys: string[]): RouteTable {
  const table = new RouteTable();
  for (const key of keys) {
    const [tenant = '', name = ''] = key.split('/');
    table.apply({
      change: 'workload',
      workload: {
        key: key as WorkloadKey,
        tenant: tenant as TenantId,
        name: name as WorkloadName,
        kind: 'app',
        generation: 'g1',
        timeoutMs: 3000,
        memoryBytes: 1,
        url: false,
        websocket: null,
        reservedConcurrency: null,
      },
    });
  }
  return table;
}

const table = tableWith('default/chat', 'acme/My_App');

function found(url: string, host?: string): string {
  const answer = route(url, host, table);
  switch (answer.to) {
    case 'workload':
      return `${answer.workload.key} ${answer.url} ${answer.prefix}`.trim();
    case 'invoke':
      return `${answer.streamed ? 'stream' : 'invoke'} ${answer.functionName}`;
    default:
      return answer.to;
  }
}

describe('a request goes', () => {
  test.each([
    ['/2015-03-31/functions/hello/invocations', 'localhost:8080', 'invoke hello'],
    ['/2015-03-31/functions/hello/invocations?Qualifier=1', '127.0.0.1', 'invoke hello'],
    ['/2015-03-31/functions/arn%3Aaws/invocations', undefined, 'invoke arn%3Aaws'],
    ['/2021-11-15/functions/hello/response-streaming-invocations?Qualifier=1', '127.0.0.1', 'stream hello'],
    ['/2021-11-15/functions/hello/invocations', '127.0.0.1', 'controller'],
    ['/2021-11-15/functions/a/b/response-streaming-invocations', 'localhost', 'controller'],
    ['/2015-03-31/functions/a/b/invocations', 'localhost', 'controller'],
    ['/2015-03-31/functions//invocations', 'localhost', 'controller'],
    ['/2015-03-31/functions/hello', 'localhost', 'controller'],
    ['/2017-03-31/tags/arn', 'localhost', 'controller'],
    ['/2019-09-30/functions/hello/concurrency', 'localhost', 'controller'],
    ['/v1/tenants?x=1', 'localhost', 'controller'],
    ['/', 'localhost:8080', 'controller'],
    ['/?x', 'localhost:8080', 'controller'],
    ['/metrics', 'localhost', 'controller'],
    ['/healthz', 'localhost', 'health'],
    ['/w/default/chat', 'localhost', 'default/chat / /w/default/chat'],
    ['/w/default/chat?a=b', 'localhost', 'default/chat /?a=b /w/default/chat'],
    ['/w/default/chat/', 'localhost', 'default/chat / /w/default/chat'],
    ['/w/default/chat//x/../y?a=/b', 'localhost', 'default/chat //x/../y?a=/b /w/default/chat'],
    ['/w/acme/My_App/x', 'localhost', 'acme/My_App /x /w/acme/My_App'],
    ['/w/acme/my_app/x', 'localhost', 'nowhere'],
    ['/w/default', 'localhost', 'nowhere'],
    ['/w/', 'localhost', 'nowhere'],
    ['/w/default/nope/', 'localhost', 'nowhere'],
    ['/', 'chat.default.localhost', 'default/chat /'],
    ['/v1/mine?x', 'chat.default.localhost:8080', 'default/chat /v1/mine?x'],
    ['/healthz', 'chat.default.localhost:8080', 'default/chat /healthz'],
    ['/x', 'CHAT.Default.LOCALHOST:8080', 'default/chat /x'],
    ['/x', 'my_app.acme.localhost', 'acme/My_App /x'],
    ['/x', 'nope.default.localhost', 'nowhere'],
    ['/', 'foo.localhost', 'nowhere'],
    ['/', '[::1]:8080', 'controller'],
    ['/nope', 'localhost', 'nowhere'],
    ['/wat', undefined, 'nowhere'],
    ['*', 'localhost', 'nowhere'],
    ['', 'localhost', 'nowhere'],
    ['http://chat.default.localhost:8080/x?y', 'localhost', 'default/chat /x?y'],
    ['http://localhost', 'chat.default.localhost', 'controller'],
    ['/w/__proto__/constructor/', 'localhost', 'nowhere'],
  ])('%s at %s: %s', (url, host, expected) => {
    expect(found(url, host)).toBe(expected);
  });
});

test('a workload that is gone is found no more, by path or by host', () => {
  const changing = tableWith('default/chat');
  changing.apply({ change: 'workloadGone', key: 'default/chat' as WorkloadKey });
  expect(route('/w/default/chat/', undefined, changing).to).toBe('nowhere');
  expect(route('/', 'chat.default.localhost', changing).to).toBe('nowhere');
});

test('an instance that retires by the word of a new controller is kept for what is in flight, and one that is unknown is not made', () => {
  const changing = tableWith('default/chat');
  const known = { id: 'i-known', workload: 'default/chat' } as InstanceRoute;
  changing.apply({ change: 'instance', instance: known });
  const next = { tenants: [], workloads: [changing.workload('default/chat')!], instances: [] };
  const retiring = ['i-known', 'i-other'] as InstanceId[];
  const kindsOf = (changes: RouteChange[]): string[] => changes.map(({ change }) => change);
  expect(kindsOf(changing.changesTo({ ...next, retiring }))).toEqual(['workload']);
  expect(kindsOf(changing.changesTo(next))).toEqual(['workload', 'instanceGone']);
});

test("a new controller's table is turned into the changes that lead to it", () => {
  const changing = tableWith('default/chat', 'default/old');
  const kept = changing.workload('default/chat');
  if (kept === undefined) throw new Error('not there');
  for (const change of changing.changesTo({ tenants: [], workloads: [kept], instances: [] }))
    changing.apply(change);
  expect(changing.workload('default/chat')).toBe(kept);
  expect(changing.workload('default/old')).toBeUndefined();
});
