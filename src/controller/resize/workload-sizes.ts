// How much a workload's instances may use, and how many instances an app has: changed live. Owns what is asked of the
// resizer and of the reconciler, and waiting for a scale.
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { TenantId, WorkloadKey, WorkloadName } from '../../base/ids.ts';
import type { Transaction } from '../../model/change.ts';
import { resourceKinds, type PartialResources } from '../../model/resources.ts';
import type { Workload } from '../../model/workload.ts';
import type { AuditLog } from '../audit.ts';
import type { ChangeOptions } from '../control-plane.ts';
import { revised } from '../deployment.ts';
import type { Reconciler } from '../reconcile/reconciler.ts';
import type { RoutePublisher } from '../routes/publisher.ts';
import { isLive, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { withChange } from './plan-input.ts';
import type { Resizer } from './resizer.ts';

/** How often a waiting scale looks again though no event came. */
const scalePollMs = 500;

export interface WorkloadSizesParts {
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly reconciler: Reconciler;
  readonly resizer: Resizer;
  readonly publisher: RoutePublisher;
  readonly audit: AuditLog;
  readonly clock: Clock;
}

export class WorkloadSizes {
  readonly #parts: WorkloadSizesParts;

  constructor(parts: WorkloadSizesParts) {
    this.#parts = parts;
  }

  async resize(
    tenant: TenantId,
    name: WorkloadName,
    change: PartialResources & { readonly scale?: number },
    options: ChangeOptions,
  ): Promise<Transaction> {
    const { desired, resizer } = this.#parts;
    const present = desired.requireWorkload(tenant, name);
    if (change.scale !== undefined && present.kind !== 'app') {
      throw new BellowsError(
        'BadRequest',
        `${present.key} is a function: its instances come and go with its load.`,
        'Set reserved concurrency instead of a scale.',
      );
    }
    const wanted = withChange(present.request, change);
    const scale = change.scale ?? (present.kind === 'app' ? present.scale : 0);
    const running = this.#parts.actual.ofWorkload(present.key).filter(isLive).length;
    if (scale > running) {
      const reason = resizer.infeasibleReason(present, null, wanted, scale);
      if (reason !== '') return this.request(present, change, options, reason);
    }
    const transaction = await this.request(present, change, options);
    if (change.scale === undefined || options.plan || transaction.status === 'infeasible') return transaction;
    return this.#scale(present.key, change.scale, options.waitMs, transaction);
  }

  /** Asks for another size of all instances, those that run and those to come. @param refusal why it can not be done */
  request(
    present: Workload,
    change: PartialResources,
    options: ChangeOptions,
    refusal = '',
  ): Promise<Transaction> {
    const { resizer, desired, publisher, reconciler, clock } = this.#parts;
    const wanted = withChange(present.request, change);
    const reason = refusal === '' ? resizer.infeasibleReason(present, present.request, wanted, 1) : refusal;
    return resizer.change({
      wish: { request: { workload: present.key, wanted: named(change) } },
      options,
      refusal: reason,
      store: async () => {
        const stored = await desired.putCurrent(present.key, (now) =>
          revised({ ...now, request: withChange(now.request, change) }, clock.nowMs(), randomUUID()),
        );
        publisher.workload(stored);
        reconciler.kick(stored.key);
      },
      event: {
        type: 'workload.resized',
        tenant: present.tenant,
        workload: present.key,
        subject: present.key,
      },
    });
  }

  async #scale(
    key: WorkloadKey,
    scale: number,
    waitMs: number,
    transaction: Transaction,
  ): Promise<Transaction> {
    const { desired, reconciler, audit, clock } = this.#parts;
    const changed = await desired.putCurrent(key, (now) =>
      now.kind === 'app' ? { ...now, scale, modifiedAtMs: clock.nowMs() } : now,
    );
    reconciler.resetBackoff(key);
    reconciler.kick(key);
    audit.note({
      type: 'workload.scaled',
      tenant: changed.tenant,
      workload: key,
      message: `${key} is to have ${scale} instances.`,
      data: { scale },
    });
    const deadlineMs = clock.nowMs() + waitMs;
    for (;;) {
      const serving = this.#servingOf(key);
      if (serving === scale) return transaction;
      const leftMs = deadlineMs - clock.nowMs();
      if (leftMs <= 0) {
        if (transaction.status !== 'applied') return transaction;
        return {
          ...transaction,
          status: 'deferred',
          reason: `${serving} of ${scale} instances serve; the rest follow.`,
        };
      }
      await this.#parts.actual.nextChange(Math.min(leftMs, scalePollMs));
    }
  }

  #servingOf(key: WorkloadKey): number {
    return this.#parts.actual.ofWorkload(key).filter(({ life }) => life.phase === 'serving').length;
  }
}

/** The resources of a change, without what else may stand in it. */
function named(change: PartialResources): PartialResources {
  return Object.fromEntries(
    resourceKinds.flatMap((kind) => (change[kind] === undefined ? [] : [[kind, change[kind]]])),
  );
}
