import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TenantId } from '../../base/ids.ts';
import { Connections, TenantConnections } from './tenant-connections.ts';

const acme = 'acme' as TenantId;

function limited(limit: number | null): TenantConnections {
  const connections = new TenantConnections(acme);
  connections.limit = limit;
  return connections;
}

describe("a tenant's connections", () => {
  test('without a limit everybody enters, and is counted', () => {
    const connections = limited(null);
    for (let n = 0; n < 1_000; n += 1) expect(connections.enter()).toBe(true);
    expect(connections.open).toBe(1_000);
  });

  test('a lowered limit lets nobody in until there are fewer than it allows, and a raised one at once', () => {
    const connections = limited(3);
    for (let n = 0; n < 3; n += 1) connections.enter();
    connections.limit = 2;
    expect(connections.enter()).toBe(false);
    connections.leave();
    expect(connections.open).toBe(2);
    expect(connections.enter()).toBe(false);
    connections.leave();
    expect(connections.enter()).toBe(true);
    connections.limit = 3;
    expect(connections.enter()).toBe(true);
    expect(connections.enter()).toBe(false);
  });

  test('a limit of none at all lets nobody in', () => {
    expect(limited(0).enter()).toBe(false);
  });

  test('what is refused names the tenant, what is open, and the limit', () => {
    const connections = limited(1);
    connections.enter();
    expect(connections.refusal().toRecord()).toMatchObject({
      code: 'LimitReached',
      message: 'The tenant acme has 1 connections open, and its limit is 1.',
    });
  });

  test('however clients come, go, are handed over and end: never more than the limit, never fewer than none', () => {
    type Step = 'enter' | 'leave' | 'handOver' | 'end';
    const step = fc.constantFrom<Step>('enter', 'leave', 'handOver', 'end');
    fc.assert(
      fc.property(fc.nat(5), fc.array(step, { maxLength: 60 }), (limit, steps) => {
        const connections = limited(limit);
        let carried = 0;
        let held = 0;
        for (const each of steps) {
          if (each === 'enter') {
            const hadRoom = carried + held < limit;
            expect(connections.enter()).toBe(hadRoom);
            if (hadRoom) carried += 1;
          } else if (each === 'leave' && carried > 0) {
            connections.leave();
            carried -= 1;
          } else if (each === 'handOver' && carried > 0) {
            // The instance's count has it before ours has it no more.
            connections.handedOver(1);
            connections.leave();
            carried -= 1;
            held += 1;
          } else if (each === 'end' && held > 0) {
            connections.handedOver(-1);
            held -= 1;
          }
          expect(connections.open).toBe(carried + held);
          expect(connections.open).toBeLessThanOrEqual(limit);
        }
      }),
    );
  });

  test('are known when the last instance has told, and need not be where there is no limit', async () => {
    const connections = limited(5);
    expect(connections.isKnown).toBe(true);
    const first = connections.expectCount();
    const second = connections.expectCount();
    expect(connections.isKnown).toBe(false);
    const order: string[] = [];
    const known = connections.whenKnown().then(() => order.push('known'));
    first();
    await Promise.resolve();
    order.push('one has told');
    second();
    await known;
    expect(order).toEqual(['one has told', 'known']);
    expect(connections.isKnown).toBe(true);
    connections.expectCount();
    connections.limit = null;
    expect(connections.isKnown).toBe(true);
  });
});

test('the counts stay when the limit changes, and are forgotten with the tenant', () => {
  const all = new Connections();
  const route = { id: acme, accountId: '', accessKeyId: '', secretAccessKey: '' };
  const change = (connectionLimit: number | null) =>
    all.onChange({
      change: 'tenant',
      tenant: { ...route, connectionLimit, concurrencyLimit: null, requestLimit: null, bandwidthLimit: null },
    });
  change(null);
  all.of(acme).enter();
  change(1);
  expect(all.of(acme).open).toBe(1);
  expect(all.of(acme).enter()).toBe(false);
  all.onChange({ change: 'tenantGone', id: acme });
  expect(all.of(acme).open).toBe(0);
});

test('other gateways are to hear soon of connections that came and went where there is a limit', () => {
  let counted = 0;
  const connections = new TenantConnections('acme' as TenantId, () => (counted += 1));
  connections.enter();
  connections.leave();
  expect(counted).toBe(0);
  connections.limit = 2;
  connections.enter();
  connections.leave();
  expect(counted).toBe(2);
});

test('one that comes from another gateway is counted once, and one that comes back too', () => {
  const all = new Connections();
  const connections = all.of('acme' as TenantId);
  all.setElsewhere(new Map([['acme' as TenantId, 3]]));
  connections.takeOver();
  expect([connections.open, connections.carried]).toEqual([3, 1]);
  connections.leave();
  connections.takeBack();
  expect([connections.open, connections.carried]).toEqual([3, 1]);
});

describe('one for which there is room only if what another gateway carried has ended', () => {
  function besideOne(elsewhere: number, hear: () => number) {
    let asked = 0;
    const all = new Connections(
      () => {},
      async () => {
        asked += 1;
        all.setElsewhere(new Map([[acme, hear()]]));
      },
    );
    const connections = all.of(acme);
    connections.limit = 2;
    connections.enter();
    all.setElsewhere(new Map([[acme, elsewhere]]));
    return { connections, asked: () => asked };
  }

  test('enters when the other says that it has, and else is refused', async () => {
    for (const [left, enters] of [
      [0, true],
      [1, false],
    ] as const) {
      const { connections, asked } = besideOne(1, () => left);
      expect(connections.isKnown).toBe(false);
      await connections.whenKnown();
      expect([asked(), connections.enter()]).toEqual([1, enters]);
    }
  });

  test('asks nobody where there is room anyway, none whatever the other says, or no limit', async () => {
    for (const [elsewhere, limit] of [
      [0, 2],
      [5, 1],
      [5, null],
    ] as const) {
      const { connections, asked } = besideOne(elsewhere, () => elsewhere);
      connections.limit = limit;
      expect(connections.isKnown).toBe(true);
      await connections.whenKnown();
      expect(asked()).toBe(0);
    }
  });
});
