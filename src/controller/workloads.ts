// Workloads: deployed, changed, removed. Owns the steps and their order; making it so is ./reconcile, and how much of what
// and how many of them is ./resize.
import { randomUUID } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { BellowsError } from '../base/errors.ts';
import { workloadKey, type TenantId, type WorkloadKey, type WorkloadName } from '../base/ids.ts';
import type { UnitKind } from '../model/unit-kind.ts';
import type { FunctionWorkload, NetworkMode, Workload } from '../model/workload.ts';
import type { Logger } from '../sys/log.ts';
import type { AgentLink } from './agent-link.ts';
import type { AuditLog } from './audit.ts';
import type { CodeStore } from './code-store.ts';
import type { Deployment, FunctionUpdate, MovedWorkload } from './control-plane.ts';
import { deployedWorkload, movedWorkload, revised, updatedFunction } from './deployment.ts';
import { checkEnv } from './env.ts';
import type { Places } from './places.ts';
import type { Reconciler } from './reconcile/reconciler.ts';
import type { Stopper } from './reconcile/stopper.ts';
import type { Successors } from './reconcile/successors.ts';
import type { Rebalancer } from './rebalance/rebalancer.ts';
import type { Resizer } from './resize/resizer.ts';
import type { WorkloadSizes } from './resize/workload-sizes.ts';
import type { RoutePublisher } from './routes/publisher.ts';
import { KeyedQueue } from './serial.ts';
import type { ActualState } from './state/actual.ts';
import type { DesiredState } from './state/desired.ts';

export interface WorkloadsParts {
  readonly desired: DesiredState;
  readonly places: Places;
  readonly actual: ActualState;
  readonly link: AgentLink;
  readonly reconciler: Reconciler;
  readonly stopper: Stopper;
  readonly successors: Successors;
  readonly resizer: Resizer;
  readonly rebalancer: Pick<Rebalancer, 'rebalance'>;
  readonly sizes: WorkloadSizes;
  readonly publisher: RoutePublisher;
  readonly code: CodeStore;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly network: NetworkMode;
}

export class Workloads {
  readonly #parts: WorkloadsParts;
  /** Deployments and changes of one workload come one after another; a removal does not wait for them. */
  readonly #queue = new KeyedQueue<WorkloadKey>();

  constructor(parts: WorkloadsParts) {
    this.#parts = parts;
  }

  async deploy(tenant: TenantId, deployment: Deployment, mustCreate: boolean): Promise<Workload> {
    const key = workloadKey(tenant, deployment.name);
    try {
      return await this.#queue.run(key, () => this.#deploy(key, tenant, deployment, mustCreate));
    } finally {
      this.#parts.code.release(tenant, deployment.code.sha256);
      this.#sweepLater(key);
    }
  }

  updateFunction(tenant: TenantId, name: WorkloadName, update: FunctionUpdate): Promise<FunctionWorkload> {
    const key = workloadKey(tenant, name);
    return this.#queue.run(key, async () => {
      const { clock, audit } = this.#parts;
      const present = this.requireFunction(tenant, name);
      if (update.expectedRevision !== undefined && update.expectedRevision !== present.revisionId) {
        throw new BellowsError(
          'Conflict',
          `The revision of ${key} is ${present.revisionId}, not ${update.expectedRevision}.`,
          'Read it again and decide anew.',
        );
      }
      if (update.env !== undefined) checkEnv('function', update.env);
      if (update.request !== undefined) {
        const transaction = await this.#parts.sizes.request(present, update.request, {
          plan: false,
          waitMs: 0,
        });
        if (transaction.status === 'infeasible') throw new BellowsError('Infeasible', transaction.reason);
      }
      const updatedFrom = (now: Workload): FunctionWorkload =>
        updatedFunction(asFunction(now), update, { nowMs: clock.nowMs(), revisionId: randomUUID() });
      const updated = await this.#parts.successors.before(
        updatedFrom(this.requireFunction(tenant, name)),
        async () => {
          const stored = asFunction(await this.#parts.desired.putCurrent(key, updatedFrom));
          this.#announce(stored);
          return stored;
        },
      );
      audit.note({
        type: 'workload.updated',
        tenant,
        workload: key,
        message: `${key} was updated.`,
        data: { generation: updated.generation },
      });
      if (update.code !== undefined) this.#parts.code.release(tenant, update.code.sha256);
      this.#sweepLater(key);
      return updated;
    });
  }

  /**
   * Has a workload run elsewhere: an instance is started there, then it takes over, and those before end when nothing of theirs
   * is under way. @throws BellowsError NotFound, NotSupportedHere, and what a start fails with: it goes on where it is then
   */
  move(tenant: TenantId, name: WorkloadName, to: UnitKind): Promise<MovedWorkload> {
    const key = workloadKey(tenant, name);
    return this.#queue.run(key, async () => {
      const { desired, places, clock, audit } = this.#parts;
      const startedMs = clock.monotonicMs();
      const present = desired.requireWorkload(tenant, name);
      places.require(to);
      const from = places.of(present);
      if (from === to) return { from, to, durationMs: 0 };
      const there = <W extends Workload>(workload: W): W =>
        movedWorkload(workload, to, { nowMs: clock.nowMs(), revisionId: randomUUID() });
      if (present.kind === 'app') await this.#putCandidate(there(present));
      else
        await this.#parts.successors.elsewhere(there(present), async () =>
          this.#announce(await desired.putCurrent(key, there)),
        );
      const durationMs = clock.monotonicMs() - startedMs;
      audit.note({
        type: 'workload.moved',
        tenant,
        workload: key,
        message: `${key} moved ${placeText(from, to)} within ${Math.round(durationMs)} ms.`,
        data: { from, to, durationMs },
      });
      return { from, to, durationMs };
    });
  }

  async change(
    tenant: TenantId,
    name: WorkloadName,
    change: (present: Workload) => Workload,
  ): Promise<Workload> {
    this.#parts.desired.requireWorkload(tenant, name);
    const changed = await this.#parts.desired.putCurrent(workloadKey(tenant, name), (present) =>
      revised(change(present), this.#parts.clock.nowMs(), randomUUID()),
    );
    this.#announce(changed);
    return changed;
  }

  async remove(tenant: TenantId, name: WorkloadName): Promise<void> {
    const { desired } = this.#parts;
    const key = workloadKey(tenant, name);
    if (desired.record(key) === undefined) desired.requireWorkload(tenant, name);
    await this.#remove(key);
  }

  async removeAll(tenant: TenantId): Promise<void> {
    const prefix = `${tenant}/`;
    await Promise.all(
      this.#parts.desired
        .keys()
        .filter((key) => key.startsWith(prefix))
        .map((key) => this.#remove(key)),
    );
    const left = this.#parts.actual.ofTenant(tenant);
    await Promise.all(left.map(({ spec }) => this.#parts.stopper.stop(spec.id, 'its tenant was removed')));
  }

  /** @throws BellowsError NotFound when it is not there or is an app */
  requireFunction(tenant: TenantId, name: WorkloadName): FunctionWorkload {
    const workload = this.#parts.desired.requireWorkload(tenant, name);
    if (workload.kind === 'function') return workload;
    throw new BellowsError(
      'NotFound',
      `${workload.key} is an app, not a function.`,
      'Send requests to its URL.',
    );
  }

  async #deploy(
    key: WorkloadKey,
    tenant: TenantId,
    deployment: Deployment,
    mustCreate: boolean,
  ): Promise<Workload> {
    const { desired, resizer, clock, network } = this.#parts;
    desired.requireTenant(tenant);
    checkEnv(deployment.kind, deployment.env);
    if (deployment.unit !== undefined) this.#parts.places.require(deployment.unit);
    const present = desired.workload(key);
    if (mustCreate && present !== undefined) {
      throw new BellowsError('Conflict', `${key} exists already.`, 'Update it, or remove it first.');
    }
    const workload = deployedWorkload(tenant, deployment, present, {
      nowMs: clock.nowMs(),
      network,
      revisionId: randomUUID(),
    });
    const instances = workload.kind === 'app' ? workload.scale : 1;
    const reason = resizer.infeasibleReason(workload, present?.request ?? null, workload.request, instances);
    if (reason !== '') throw new BellowsError('Infeasible', reason);
    const deployed = await this.#putInPlace(workload, present);
    this.#parts.audit.note({
      type: present === undefined ? 'workload.created' : 'workload.deployed',
      tenant,
      workload: key,
      message: `${key} was deployed.`,
      data: { kind: workload.kind, generation: workload.generation, codeSha256: workload.codeSha256 },
    });
    return deployed;
  }

  async #putInPlace(workload: Workload, present: Workload | undefined): Promise<Workload> {
    const { desired, reconciler, rebalancer, successors } = this.#parts;
    const { key, generation } = workload;
    reconciler.resetBackoff(key);
    const serves = present?.kind === 'app' && present.generation === generation;
    const putCurrent = async (): Promise<void> => {
      desired.requireTenant(workload.tenant);
      await desired.putRecord(key, () => ({ current: workload, candidate: null }));
      this.#announce(workload);
    };
    if (workload.kind === 'function') await successors.before(workload, putCurrent);
    else if (serves) await putCurrent();
    else await this.#putCandidate(workload);
    // What runs on may ask for other amounts now.
    rebalancer.rebalance(`${key} was deployed`);
    return workload;
  }

  /** Resolves when it serves, and is what clients see. @throws BellowsError when it can not: what served before serves on */
  async #putCandidate(candidate: Workload): Promise<void> {
    const { desired, reconciler } = this.#parts;
    const { key, generation } = candidate;
    reconciler.resetBackoff(key);
    const deployed = reconciler.untilDeployed(key, generation);
    // Whoever asked hears of a failure below; until then nobody listens.
    deployed.catch(() => undefined);
    await desired.putRecord(key, (now) => ({ current: now?.current ?? null, candidate }));
    reconciler.kick(key);
    await deployed;
  }

  async #remove(key: WorkloadKey): Promise<void> {
    const { desired, actual, stopper, reconciler, link, publisher, audit, log } = this.#parts;
    const record = desired.record(key);
    await desired.putRecord(key, () => undefined);
    reconciler.forget(key);
    publisher.workloadGone(key);
    await Promise.all(
      actual.ofWorkload(key).map(({ spec }) => stopper.stop(spec.id, 'the workload was removed')),
    );
    await link.agent
      .call('removeLogs', { workload: key })
      .catch((thrown: unknown) =>
        log.warn({ err: thrown, workload: key }, 'logs of a removed workload are left'),
      );
    await this.#parts.code.sweep();
    const tenant = (record?.current ?? record?.candidate)?.tenant;
    audit.note({
      type: 'workload.removed',
      workload: key,
      message: `${key} was removed.`,
      ...(tenant === undefined ? {} : { tenant }),
    });
  }

  #announce(workload: Workload): void {
    this.#parts.publisher.workload(workload);
    this.#parts.reconciler.kick(workload.key);
  }

  /** When the old generation's instances are gone their code is of no use either. */
  #sweepLater(key: WorkloadKey): void {
    const { actual, desired, code } = this.#parts;
    const old = actual
      .ofWorkload(key)
      .filter(({ spec }) => spec.generation !== desired.workload(key)?.generation);
    const gone = Promise.all(old.map(({ spec }) => actual.untilGone(spec.id)));
    void gone.then(() => code.sweep());
  }
}

function placeText(from: UnitKind, to: UnitKind): string {
  const name = { host: 'this machine', vm: 'virtual machines' } as const;
  return `from ${name[from]} to ${name[to]}`;
}

function asFunction(workload: Workload): FunctionWorkload {
  if (workload.kind === 'function') return workload;
  throw new BellowsError('Conflict', `${workload.key} became an app meanwhile.`);
}
