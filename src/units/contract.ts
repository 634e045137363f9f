// What every UnitDriver must do, as tests: each driver's test file runs this against its own units and agents.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InstanceId, TenantId, UnitId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import { resourceKinds, type Resources } from '../model/resources.ts';
import type { Unit, UnitDriver, UnitEvent, UnitHandle } from './port.ts';

/** A driver of its own for one test, and power over the agent at the other end of the link. */
export interface UnitDriverPlace {
  readonly driver: UnitDriver;
  /** A unit that the driver can provision, of this size. */
  readonly id: UnitId;
  readonly size: Resources;
  /** The unit's agent says that so many warm processes are ready. */
  emitPoolChanged(ready: number): void;
  /** Cuts the link; the agent can not be reached until `reconnect`. */
  disconnect(): Promise<void>;
  reconnect(): Promise<void>;
  remove(): Promise<void>;
}

const optional = ['resize', 'claim', 'release', 'snapshot'] as const;

export function unitDriverContract(name: string, makePlace: () => Promise<UnitDriverPlace>): void {
  describe(`unit driver contract: ${name}`, () => {
    let place: UnitDriverPlace;
    let driver: UnitDriver;
    let unit: Unit;

    beforeEach(async () => {
      place = await makePlace();
      driver = place.driver;
      unit = await driver.provision(place.id, place.size);
    });

    afterEach(async () => {
      await unit.close();
      await place.remove();
    });

    function collect(from: Unit): { events: UnitEvent[]; end: () => void } {
      const events: UnitEvent[] = [];
      return { events, end: from.subscribe((event) => events.push(event)) };
    }

    test('a provisioned unit has a size, nothing claimed, and an agent that answers', async () => {
      for (const kind of resourceKinds) expect(unit.provisioned[kind]).toBeGreaterThan(0);
      expect(unit.claimed).toEqual({ memory: 0, cpu: 0, storage: 0, bandwidth: 0 });
      const hello = await unit.agent.call('hello', {});
      expect(hello.capacity).toEqual(unit.provisioned);
    });

    test('its handle survives being written down, and another controller adopts the same unit with it', async () => {
      expect(unit.handle).toMatchObject({ version: 1, driver: driver.name, id: place.id });
      const handle = JSON.parse(JSON.stringify(unit.handle)) as UnitHandle;
      expect(handle).toEqual(unit.handle);
      const tenant = {
        tenant: 'acme' as TenantId,
        uid: 1,
        memoryBytes: 64 * mib,
        cpuMillicores: null,
        weight: 1,
      };
      await unit.agent.call('ensureTenant', tenant);
      await unit.close();
      unit = await driver.adopt(handle);
      expect(unit.handle).toEqual(handle);
      expect(unit.provisioned).toEqual((await unit.agent.call('hello', {})).capacity);
      const { tenants } = await unit.agent.call('measure', {});
      expect(tenants).toEqual([expect.objectContaining({ tenant: 'acme', memoryLimitBytes: 64 * mib })]);
    });

    test.each([
      ['of another driver', { driver: 'another' }],
      ['of a unit that is gone', { id: 'gone' as UnitId }],
    ])('a handle %s is not found', async (_, change) => {
      await expect(driver.adopt({ ...unit.handle, ...change })).rejects.toThrow(
        expect.objectContaining({ code: 'NotFound' }),
      );
    });

    test('what the agent refuses arrives with its code and words', async () => {
      await expect(unit.agent.call('freeze', { id: 'i-absent' as InstanceId })).rejects.toThrow(
        expect.objectContaining({ code: 'NotFound', message: expect.stringContaining('i-absent') }),
      );
    });

    test('the agent’s events reach every subscriber, in order, until it ends its subscription', async () => {
      const [first, second] = [collect(unit), collect(unit)];
      const ready = (events: UnitEvent[]): unknown[] =>
        events.flatMap((event) =>
          event.type === 'agent' && event.event.event === 'poolChanged' ? [event.event.data.ready] : [],
        );
      place.emitPoolChanged(1);
      place.emitPoolChanged(2);
      await expect
        .poll(() => [ready(first.events), ready(second.events)])
        .toEqual([
          [1, 2],
          [1, 2],
        ]);
      first.end();
      place.emitPoolChanged(3);
      await expect.poll(() => ready(second.events)).toEqual([1, 2, 3]);
      expect(ready(first.events)).toEqual([1, 2]);
    });

    test('a cut link is told, calls wait for it, and it comes back by itself', async () => {
      const { events } = collect(unit);
      await place.disconnect();
      await expect.poll(() => events).toEqual([{ type: 'disconnected' }]);
      await expect(unit.agent.call('hello', {}, { timeoutMs: 20 })).rejects.toThrow(
        expect.objectContaining({ code: 'Unavailable' }),
      );
      const waiting = unit.agent.call('hello', {});
      await place.reconnect();
      expect((await waiting).capacity).toEqual(unit.provisioned);
      expect(events).toEqual([{ type: 'disconnected' }, { type: 'connected' }]);
    });

    test('a closed unit may be closed again, tells nothing more, and its calls fail at once', async () => {
      const { events } = collect(unit);
      await place.disconnect();
      await expect.poll(() => events.length).toBe(1);
      const waiting = unit.agent.call('hello', {});
      const failed = expect(waiting).rejects.toThrow(expect.objectContaining({ code: 'Unavailable' }));
      await unit.close();
      await unit.close();
      await failed;
      await expect(unit.agent.call('hello', {})).rejects.toThrow(
        expect.objectContaining({ code: 'Unavailable' }),
      );
      await place.reconnect();
      expect(events).toEqual([{ type: 'disconnected' }]);
    });

    test('what the driver can not do it says, with a code', async () => {
      const notSupported = expect.objectContaining({ code: 'NotSupportedHere' });
      const can = { ...driver.capabilities, release: driver.capabilities.claim };
      for (const what of optional) {
        if (!can[what]) await expect(driver[what](unit, place.size)).rejects.toThrow(notSupported);
      }
      if (!driver.capabilities.provision) {
        await expect(driver.provision('another' as UnitId, place.size)).rejects.toThrow(notSupported);
        await expect(driver.destroy(unit)).rejects.toThrow(notSupported);
      }
    });

    test('a destroyed unit is lost to all who watch it, and can not be adopted', async () => {
      if (!driver.capabilities.provision) return;
      const witness = await driver.adopt(unit.handle);
      const { events } = collect(witness);
      await driver.destroy(unit);
      expect(events.at(-1)).toMatchObject({ type: 'lost' });
      await expect(driver.adopt(unit.handle)).rejects.toThrow(expect.objectContaining({ code: 'NotFound' }));
      await witness.close();
    });
  });
}
