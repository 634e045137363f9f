import { describe, expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import { Turns } from './turns.ts';

const acme = 'acme' as TenantId;
const rival = 'rival' as TenantId;
const patience = { waitMs: 10_000, giveUp: () => new Error('it waited in vain') };

/** Work that begins when it is its turn, and ends when the test says so. */
class Work {
  readonly begun: string[] = [];
  readonly #ends = new Map<string, (value: string) => void>();

  readonly begin = (name: string) => (): Promise<string> => {
    this.begun.push(name);
    return new Promise((resolve) => this.#ends.set(name, resolve));
  };

  async end(name: string): Promise<void> {
    this.#ends.get(name)!(name);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('turns to start', () => {
  test('no more at once than there are, tenants in turn, each tenant’s own in order', async () => {
    const turns = new Turns(2, 10_000);
    const work = new Work();
    const all = [
      ...['a1', 'a2', 'a3', 'a4'].map((name) => turns.during(acme, patience, work.begin(name))),
      ...['r1', 'r2'].map((name) => turns.during(rival, patience, work.begin(name))),
    ];
    await new Promise((resolve) => setImmediate(resolve));
    expect(work.begun).toEqual(['a1', 'a2']);
    for (const name of ['a2', 'a1', 'a3', 'r1', 'a4', 'r2']) await work.end(name);
    expect(work.begun).toEqual(['a1', 'a2', 'a3', 'r1', 'a4', 'r2']);
    expect(await Promise.all(all)).toEqual(['a1', 'a2', 'a3', 'a4', 'r1', 'r2']);
  });

  test('one that takes too long is counted no more, and still answers', async () => {
    const turns = new Turns(1, 10);
    const work = new Work();
    const slow = turns.during(acme, patience, work.begin('slow'));
    const next = turns.during(rival, patience, work.begin('next'));
    await expect.poll(() => work.begun).toEqual(['slow', 'next']);
    await work.end('slow');
    await work.end('next');
    expect(await Promise.all([slow, next])).toEqual(['slow', 'next']);
    expect(await turns.during(acme, patience, async () => 'after')).toBe('after');
  });

  test('a turn is given back when its work fails, and whoever waited in vain is told and waits no more', async () => {
    const turns = new Turns(1, 10_000);
    const work = new Work();
    const first = turns.during(acme, patience, work.begin('first'));
    const vain = turns.during(
      rival,
      { waitMs: 5, giveUp: (taken) => new Error(`${taken} before it`) },
      work.begin('vain'),
    );
    await expect(vain).rejects.toThrow('1 before it');
    await work.end('first');
    await first;
    await expect(turns.during(acme, patience, () => Promise.reject(new Error('it failed')))).rejects.toThrow(
      'it failed',
    );
    expect(await turns.during(acme, patience, async () => 'after')).toBe('after');
    expect(work.begun).toEqual(['first']);
  });
});
