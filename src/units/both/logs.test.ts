import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LogStore } from '../../agent/logs/log-store.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { Caller } from '../../protocol/rpc.ts';
import { readBothLogs } from './logs.ts';

const workload = 'acme/chat' as WorkloadKey;
let directory: string;
let nowMs: number;
let stores: readonly [LogStore, LogStore];
let parts: readonly [Caller<AgentProtocol>, Caller<AgentProtocol>];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-logs-'));
  nowMs = 1_000;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
  const storeAt = (name: string): LogStore =>
    new LogStore(join(directory, name), clock, (error) => expect.unreachable(String(error)));
  stores = [storeAt('host'), storeAt('machines')];
  const partOf = (store: LogStore): Caller<AgentProtocol> => ({
    call: (_method, params) => {
      const { cursor, limit, waitMs } = params as { cursor: string | null; limit: number; waitMs: number };
      return store.read(workload, cursor, limit, waitMs) as never;
    },
  });
  parts = [partOf(stores[0]), partOf(stores[1])];
});

afterEach(() => rmSync(directory, { recursive: true }));

/** One line each, a second apart. */
function print(...lines: readonly (readonly [part: 0 | 1, line: string])[]): void {
  for (const [part, line] of lines) {
    stores[part].sinkOf(workload, `i-${part}` as InstanceId)([line]);
    nowMs += 1_000;
  }
}

const read = (
  cursor: string | null,
  more: { readonly limit?: number; readonly waitMs?: number } = {},
): Promise<{ lines: string[]; cursor: string }> =>
  readBothLogs(parts, { workload, cursor, limit: 100, waitMs: 0, ...more }).then((page) => ({
    lines: page.entries.map(({ line }) => line),
    cursor: page.cursor,
  }));

test('lines of a workload that was moved come in the order in which they were printed', async () => {
  print([0, 'one'], [1, 'two'], [1, 'three'], [0, 'four']);
  expect((await read('0.0')).lines).toEqual(['one', 'two', 'three', 'four']);
  expect((await read(null, { limit: 2 })).lines).toEqual(['three', 'four']);
});

test('who reads on in small pages gets every line of both once', async () => {
  const expected = Array.from({ length: 20 }, (_, index) => `line ${index}`);
  print(...expected.map((line, index) => [index % 3 === 0 ? 1 : 0, line] as const));
  const seen: string[] = [];
  let cursor = '0.0';
  for (;;) {
    const page = await read(cursor, { limit: 4 });
    if (page.lines.length === 0) break;
    expect(page.lines.length).toBeLessThanOrEqual(4);
    seen.push(...page.lines);
    cursor = page.cursor;
  }
  expect(seen.toSorted()).toEqual(expected.toSorted());
});

test.each([0, 1] as const)(
  'who waits is answered by the next line, in whichever part it is printed (%i)',
  async (part) => {
    print([0, 'before']);
    const { cursor } = await read(null);
    const waiting = read(cursor, { waitMs: 10_000 });
    print([part, 'next'], [part === 0 ? 1 : 0, 'after']);
    const { lines, cursor: then } = await waiting;
    const { lines: rest } = await read(then);
    expect([...lines, ...rest].toSorted()).toEqual(['after', 'next']);
  },
);

test('who waits in vain is told so in time', async () => {
  const { cursor } = await read(null);
  expect(await read(cursor, { waitMs: 10 })).toEqual({ lines: [], cursor });
});

test('a position from a time when there was one part is one in what this machine printed', async () => {
  print([0, 'one']);
  const { cursor } = await stores[0].read(workload, '0', 100, 0);
  print([0, 'two'], [1, 'three']);
  expect((await read(cursor)).lines).toEqual(['two', 'three']);
});
