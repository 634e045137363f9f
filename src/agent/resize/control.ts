// What a resize asks of whoever runs the instances. An interface only: the agent implements it, tests script it.
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { Resources } from '../../model/resources.ts';
import type { StorageOutcome } from '../sandbox/port.ts';

export interface ResizableInstance {
  readonly tenant: TenantId;
  readonly workload: WorkloadKey;
  /** What it has been told that it may use. */
  readonly grant: Resources;
}

export interface InstanceControl {
  /** Undefined when there is no such instance, or no longer. */
  describe(id: InstanceId): ResizableInstance | undefined;
  /**
   * Tells the application (MISSION E5); the notice is on its way when the call returns, and heard when the promise
   * resolves. `changing`: it is about to become so, free what you can. `current`: it is so now. Never thaws an instance.
   */
  notify(id: InstanceId, grant: Resources, phase: 'changing' | 'current'): Promise<void>;
  /** Collects garbage inside. A frozen instance is thawed for that, and frozen again unless it was needed meanwhile. */
  trim(id: InstanceId): Promise<void>;
  /** What its scratch space may hold, by the kernel's word; null where nothing limits it. */
  storageBytes(id: InstanceId): number | null;
  /** Another size of its scratch space; never takes what is stored there. */
  resizeStorage(id: InstanceId, storageBytes: number): StorageOutcome;
  /** As last heard of. */
  connections(id: InstanceId): ConnectionCounts;
}
