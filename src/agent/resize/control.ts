// What a resize asks of whoever runs the instances. An interface only: the agent implements it, tests script it.
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { Resources } from '../../model/resources.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { StorageOutcome } from '../sandbox/port.ts';
import type { WhyGivenBack } from './lending.ts';
import type { Strained } from './strain.ts';

export interface ResizableInstance {
  readonly tenant: TenantId;
  readonly workload: WorkloadKey;
  /** What it has been told that it may use: of memory what it was promised, when a part of that is lent. */
  readonly grant: Resources;
}

export interface InstanceControl {
  /** Undefined when there is no such instance, or no longer. */
  describe(id: InstanceId): ResizableInstance | undefined;
  /**
   * Tells the application that it is about to have this, so that it frees what it can (MISSION E5); the notice is on its way
   * when the call returns, and heard when the promise resolves. Never thaws an instance.
   */
  announce(id: InstanceId, grant: Resources): Promise<void>;
  /**
   * What the kernel enforces now is this. The application is told, of memory what it was promised: null when that is the
   * grant itself. Not waited for.
   */
  enforced(id: InstanceId, grant: Resources, promisedBytes: Bytes | null): void;
  /**
   * What was lent of its memory it has again: `grant` is enforced, which it never stopped counting on. `desired` is what it was
   * last asked to be.
   */
  givenBack(id: InstanceId, amounts: { grant: Resources; desired: Resources }, why: WhyGivenBack): void;
  /** It has less memory than was asked for it, and this is how it gets on with that: told when that changes, and while it is hard. */
  strained(id: InstanceId, strained: Strained): void;
  /** Collects garbage inside. A frozen instance is thawed for that, and frozen again unless it was needed meanwhile. */
  trim(id: InstanceId): Promise<void>;
  /** What its scratch space may hold, by the kernel's word; null where nothing limits it. */
  storageBytes(id: InstanceId): number | null;
  /** Another size of its scratch space; never takes what is stored there. */
  resizeStorage(id: InstanceId, storageBytes: number): StorageOutcome;
  /** As last heard of. */
  connections(id: InstanceId): ConnectionCounts;
}
