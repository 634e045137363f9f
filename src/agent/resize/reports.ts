// What became of a change after its answer, told to whoever asked for it and to the application. Decides nothing.
import type { InstanceId } from '../../base/ids.ts';
import type { InstanceChange, ResourceChange } from '../../model/change.ts';
import type { ResizeResult } from '../../protocol/agent.ts';
import type { Cgroup } from '../cgroup/port.ts';
import type { InstanceControl, ResizableInstance } from './control.ts';
import type { Notices } from './notices.ts';
import { changeOf, type Part } from './outcome.ts';
import type { Groups, Owner } from './owners.ts';
import type { Quantities } from './plan.ts';

export interface ReportsOptions extends Groups {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
  readonly onApplied: (result: ResizeResult) => void;
}

export class Reports {
  readonly #options: ReportsOptions;
  readonly #notices: Notices;

  constructor(options: ReportsOptions, notices: Notices) {
    this.#options = options;
    this.#notices = notices;
  }

  /** Another memory limit than at the answer. */
  memory(owner: Owner, before: Quantities, part: Part): void {
    const { cgroup, onApplied } = this.#options;
    const after = cgroup.limits(owner.group);
    const amounts = {
      before: before.memoryBytes,
      after: after.memoryBytes,
      wanted: owner.wanted.memoryBytes,
    };
    const changes = [changeOf('memory', amounts, part)];
    if (owner.kind === 'tenant') {
      onApplied({ tenants: [{ tenant: owner.tenant, changes }], instances: [] });
      return;
    }
    onApplied({ tenants: [], instances: [this.#changed(owner.id, owner.instance, changes)] });
    this.#notices.tellCurrent(owner.id, after);
  }

  /** The same of what an instance may store. */
  space(id: InstanceId, change: ResourceChange): void {
    const { control, cgroup, groupOfInstance, onApplied } = this.#options;
    const instance = control.describe(id);
    if (instance === undefined) return;
    onApplied({ tenants: [], instances: [this.#changed(id, instance, [change])] });
    this.#notices.tellCurrent(id, cgroup.limits(groupOfInstance(id)));
  }

  #changed(
    instance: InstanceId,
    { tenant, workload }: ResizableInstance,
    changes: ResourceChange[],
  ): ResizeResult['instances'][number] & InstanceChange {
    const { open } = this.#options.control.connections(instance);
    return { instance, tenant, workload, changes, connections: { open, kept: open, dropped: 0 } };
  }
}
