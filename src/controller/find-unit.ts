// The unit that this controller works with: an earlier controller's, found again by the handle in the store, or a new one. Owns that
// handle's place in the store; what a unit is, is src/units/port.ts.
import { setTimeout as pause } from 'node:timers/promises';
import { BellowsError } from '../base/errors.ts';
import { hostUnitId } from '../base/ids.ts';
import type { Store } from '../store/port.ts';
import type { Logger } from '../sys/log.ts';
import { noResources } from '../units/no-resources.ts';
import type { Unit, UnitDriver, UnitHandle } from '../units/port.ts';
import { keys } from './state/records.ts';

const unitRetryMs = 500;

/** The unit of an earlier controller, or a new one. Waits until its agent answers: nothing can be done without. */
export async function findUnit(store: Store, driver: UnitDriver, log: Logger): Promise<Unit> {
  const key = keys.unit(hostUnitId);
  for (;;) {
    try {
      const known = await store.get<UnitHandle>(key);
      const unit =
        known?.value.driver === driver.name
          ? await adoptOrProvision(driver, known.value)
          : await driver.provision(hostUnitId, noResources);
      await store.put(key, unit.handle);
      return unit;
    } catch (thrown) {
      if (!(thrown instanceof BellowsError) || thrown.code !== 'Unavailable') throw thrown;
      log.warn({ err: thrown }, 'waiting for the agent');
      await pause(unitRetryMs);
    }
  }
}

async function adoptOrProvision(driver: UnitDriver, handle: UnitHandle): Promise<Unit> {
  try {
    return await driver.adopt(handle);
  } catch (thrown) {
    if (!(thrown instanceof BellowsError) || thrown.code !== 'NotFound') throw thrown;
    return driver.provision(handle.id, noResources);
  }
}
