// A unit that rests, as one who did not put it there has it: nothing but what is on record. It can be looked at, destroyed, and
// adopted, which wakes it. Owns that view; it has no process, and nobody in it can be asked.
import { BellowsError } from '../../base/errors.ts';
import type { Resources } from '../../model/resources.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller } from '../../protocol/rpc.ts';
import { noResources } from '../no-resources.ts';
import type { UnitHandle } from '../port.ts';
import type { Door, VmUnit } from './port.ts';
import type { UnitRecord } from './record.ts';
import { handleOf } from './view.ts';

export class RestingUnit implements VmUnit {
  readonly handle: UnitHandle;
  readonly provisioned: Resources;
  /** Of no process. */
  readonly pid = 0;
  readonly guest: Caller<GuestProtocol>;
  /** All of its memory is the host's: there is nothing to claim. */
  readonly claimed = noResources;
  readonly record: UnitRecord;

  constructor(record: UnitRecord) {
    this.record = record;
    this.handle = handleOf(record);
    this.provisioned = record.size;
    this.guest = {
      call: async (name) => {
        throw new BellowsError('Unavailable', `The unit ${record.id} rests: it can not be asked to ${name}.`);
      },
    };
  }

  get agent(): Caller<AgentProtocol> {
    return this.guest;
  }

  get outlivedByConnections(): boolean {
    return this.record.network === 'tap';
  }

  get door(): Door {
    const { door, id } = this.record;
    if (door === null) throw new BellowsError('NotReady', `The unit ${id} has no identity yet.`);
    return door;
  }

  /** Nothing happens to it. */
  subscribe(): () => void {
    return () => undefined;
  }

  subscribeGuest(): () => void {
    return () => undefined;
  }

  async close(): Promise<void> {
    // It holds nothing.
  }
}
