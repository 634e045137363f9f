// A change of what runs, as one transaction over units and the agents inside them (MISSION E1):
//
//   admit ─▶ grow the units ─▶ the guest's own transaction ─▶ shrink the units ─▶ one answer
//     └─ no room now ─▶ deferred ──room came──▶ admitted, told as applied
//
// So what grows has room in its unit before its limit rises, and what shrinks has a lower limit before its unit is claimed
// from. Owns the order; the arithmetic is room.ts and merge.ts, claiming is unit.ts.
import { setTimeout as pause } from 'node:timers/promises';
import { within } from '../../agent/resize/within.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { InstanceChange, ResourceChange } from '../../model/change.ts';
import type { ResourceKind, Resources } from '../../model/resources.ts';
import type { ResizeRequest, ResizeResult, TenantSpec } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import type { FleetTuning } from './config.ts';
import { mergeChanges, mergeTenant } from './merge.ts';
import { admit, type Admitted } from './room.ts';
import { sumOf } from './sizing.ts';
import type { FleetUnit, Placed, Settled } from './unit.ts';
import { WaitingGrowth } from './waiting-growth.ts';

/** Notifying, collecting garbage and writing inside take a moment beyond what the caller is willing to wait. */
const guestMarginMs = 25_000;
/** The answer does not wait longer than this for memory on its way to the host; it goes there all the same. */
const giveBackWaitMs = 15_000;
const largest = (left: Resources, right: Resources): Resources =>
  Object.fromEntries(
    Object.entries(left).map(([kind, amount]) => [kind, Math.max(amount, right[kind as ResourceKind])]),
  ) as unknown as Resources;

export interface ResizerParts {
  readonly find: (id: InstanceId) => { readonly unit: FleetUnit; readonly placed: Placed } | undefined;
  readonly unitsOf: (tenant: TenantId) => readonly FleetUnit[];
  /** What held of the tenant before; the present one replaces it. */
  readonly replaceTenant: (spec: TenantSpec) => TenantSpec | undefined;
  /** Enforces the tenant's limit on the group of its machines. @throws when the kernel refuses */
  readonly limitTenant: (spec: TenantSpec) => Promise<void>;
  readonly hostAvailableBytes: () => number;
  /** Growth that had to wait was applied. */
  readonly onApplied: (result: ResizeResult) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: FleetTuning;
}

interface UnitRequest {
  readonly tenants: TenantSpec[];
  readonly instances: {
    readonly id: InstanceId;
    readonly placed: Placed;
    readonly wanted: Resources;
    /** More than what is wanted is lent of it. */
    readonly promised: ResizeRequest['instances'][number]['promised'];
    /** More than what is wanted was asked for. */
    readonly requested: ResizeRequest['instances'][number]['requested'];
  }[];
}

export class Resizer {
  readonly #parts: ResizerParts;
  readonly #waiting: WaitingGrowth;

  constructor(parts: ResizerParts) {
    this.#parts = parts;
    this.#waiting = new WaitingGrowth(
      (id, wanted) => this.#growLate(id, wanted),
      parts.tuning.growthRetryMs,
      parts.log,
    );
  }

  /** Forgets what waits. */
  close(): void {
    this.#waiting.close();
  }

  async apply(request: ResizeRequest): Promise<ResizeResult> {
    const { find, unitsOf, replaceTenant } = this.#parts;
    const byUnit = new Map<FleetUnit, UnitRequest>();
    const of = (unit: FleetUnit): UnitRequest => {
      const known = byUnit.get(unit) ?? { tenants: [], instances: [] };
      byUnit.set(unit, known);
      return known;
    };
    for (const tenant of request.tenants)
      for (const unit of unitsOf(tenant.tenant)) if (!unit.resting) of(unit).tenants.push(tenant);
    for (const { id, grant: wanted, promised, requested } of request.instances) {
      this.#waiting.drop(id);
      const found = find(id);
      if (found !== undefined)
        of(found.unit).instances.push({ id, placed: found.placed, wanted, promised, requested });
    }
    const before = new Map(request.tenants.map((spec) => [spec.tenant, replaceTenant(spec)]));
    // What rises does so before the machines in it; what falls below theirs is refused here, and follows them.
    const early = new Map(await this.#limitAll(request.tenants));
    const results = await Promise.all(
      [...byUnit].map(([unit, part]) => this.#inUnit(unit, part, request.waitMs)),
    );
    const late = new Map(
      await this.#limitAll(request.tenants.filter(({ tenant }) => early.get(tenant) !== '')),
    );
    return {
      tenants: request.tenants.map((spec) =>
        mergeTenant(
          spec,
          before.get(spec.tenant),
          results.flatMap(({ tenants }) => tenants.filter(({ tenant }) => tenant === spec.tenant)),
          late.get(spec.tenant) ?? '',
        ),
      ),
      instances: results.flatMap(({ instances }) => instances),
    };
  }

  /** Outside a change of what runs: machines of the tenant's that have more than its limit come first. */
  async limitOnHost(spec: TenantSpec): Promise<void> {
    const { limitTenant, unitsOf, log } = this.#parts;
    try {
      await limitTenant(spec).catch(async () => {
        await Promise.all(unitsOf(spec.tenant).map((unit) => unit.settle()));
        await limitTenant(spec);
      });
    } catch (thrown) {
      log.warn(
        { err: thrown, tenant: spec.tenant },
        'a tenant’s limit could not be enforced on its machines',
      );
    }
  }

  /** The guest has applied later what it had deferred: now the unit can follow. */
  follow(unit: FleetUnit, result: ResizeResult): void {
    for (const { instance, changes } of result.instances)
      reserveWhatHolds(unit.placed.get(instance), changes);
    unit
      .settle()
      .catch((thrown: unknown) =>
        this.#parts.log.warn({ err: thrown, unit: unit.id }, 'a unit could not follow its guest'),
      );
  }

  /** Why a tenant's limit could not be enforced on the host; empty where it was. */
  #limitAll(specs: readonly TenantSpec[]): Promise<[TenantId, string][]> {
    return Promise.all(
      specs.map(async (spec): Promise<[TenantId, string]> => {
        const refusal = await this.#parts.limitTenant(spec).then(() => '', messageOf);
        return [spec.tenant, refusal];
      }),
    );
  }

  /** @returns whether it is done with */
  async #growLate(id: InstanceId, wanted: Partial<Resources>): Promise<boolean> {
    const found = this.#parts.find(id);
    if (found === undefined) return true;
    const { unit, placed } = found;
    // What is lent of it stays so, whatever else had to wait.
    const promised = placed.info?.promised;
    const instances = [
      { id, placed, promised, requested: undefined, wanted: { ...placed.reserved, ...wanted } },
    ];
    const part = { tenants: [], instances };
    if (this.#admit(unit, part).some(({ waits }) => waits.size > 0)) return false;
    const done = await this.#inUnit(unit, part, 0);
    const moved = done.instances.map((instance) => ({
      ...instance,
      changes: instance.changes.filter(({ before, after }) => before !== after),
    }));
    if (moved.some(({ changes }) => changes.length > 0))
      this.#parts.onApplied({ tenants: [], instances: moved });
    // What did not fit after all waits again by the answer's own doing.
    return true;
  }

  #admit(unit: FleetUnit, part: UnitRequest): Admitted[] {
    const { hostAvailableBytes, tuning } = this.#parts;
    const concerned = new Set(part.instances.map(({ id }) => id));
    const others = [...unit.placed].filter(([id]) => !concerned.has(id)).map(([, { reserved }]) => reserved);
    const asked = part.instances.map(({ id, placed, wanted }) => ({ id, present: placed.reserved, wanted }));
    const spareBytes = hostAvailableBytes() - tuning.hostReserveBytes;
    return admit(asked, unit.vm.provisioned, sumOf(others), spareBytes);
  }

  /** As `#admit`, but what has no room now may find it within the time that the caller waits. */
  async #admitInTime(unit: FleetUnit, part: UnitRequest, untilMs: number): Promise<Admitted[]> {
    const { clock, tuning } = this.#parts;
    for (;;) {
      const admitted = this.#admit(unit, part);
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0 || admitted.every(({ waits }) => waits.size === 0)) return admitted;
      await pause(Math.min(leftMs, tuning.growthRetryMs));
    }
  }

  async #inUnit(unit: FleetUnit, part: UnitRequest, waitMs: number): Promise<ResizeResult> {
    const { clock, log } = this.#parts;
    const startedMs = clock.monotonicMs();
    await unit.wake();
    const admitted = await this.#admitInTime(unit, part, startedMs + waitMs);
    for (const { id, wanted, waits } of admitted) {
      const late = [...waits.keys()].map((kind) => [kind, wanted[kind]] as const);
      if (late.length > 0) this.#waiting.put(id, Object.fromEntries(late));
    }
    for (const { id, present, grant } of admitted) reserve(unit, id, largest(present, grant));
    const grown = await unit.settle();
    const leftMs = Math.max(0, waitMs - (clock.monotonicMs() - startedMs));
    const inside = await this.#inside(unit, part, admitted, grown, leftMs).catch((thrown: unknown) => {
      log.warn({ err: thrown, unit: unit.id }, 'a guest could not be resized');
      return thrown instanceof BellowsError ? thrown : new BellowsError('Internal', messageOf(thrown));
    });
    for (const { id, present, grant } of admitted) {
      // What the guest did not confirm stays reserved as it was.
      reserve(unit, id, { ...present, bandwidth: grant.bandwidth });
      if (inside instanceof BellowsError) continue;
      const change = inside.instances.find(({ instance }) => instance === id);
      if (change !== undefined) reserveWhatHolds(unit.placed.get(id), change.changes);
      this.#reserveWhatIsBack(unit, id);
    }
    const settling = unit.settle();
    await within(giveBackWaitMs, settling);
    const shrunk = await Promise.race([settling, Promise.resolve(undefined)]);
    const durationMs = clock.monotonicMs() - startedMs;
    if (inside instanceof BellowsError) throw inside;
    return {
      tenants: inside.tenants,
      instances: admitted.flatMap((one) => {
        const change = inside.instances.find(({ instance }) => instance === one.id);
        return this.#answer(one, change, unit, shrunk ?? grown, durationMs);
      }),
    };
  }

  #inside(
    unit: FleetUnit,
    part: UnitRequest,
    admitted: readonly Admitted[],
    grown: Settled,
    waitMs: number,
  ): Promise<ResizeResult> {
    // A unit that could not grow must not promise inside what it does not have.
    const allowed = (kind: 'memory' | 'storage', { present, grant }: Admitted): number =>
      grown.failures.has(kind) ? Math.min(present[kind], grant[kind]) : grant[kind];
    const asked = new Map(part.instances.map((one) => [one.id, one]));
    const instances = admitted.map((one) => ({
      id: one.id,
      promised: asked.get(one.id)?.promised,
      requested: asked.get(one.id)?.requested,
      // The guest is asked for what is its own to change; bandwidth is the unit's, and stays in its view as it was.
      grant: {
        ...one.present,
        cpu: one.grant.cpu,
        memory: allowed('memory', one),
        storage: allowed('storage', one),
      } as Resources,
    }));
    for (const { tenant } of part.tenants) unit.tenants.forget(tenant);
    return unit.vm.guest.call(
      'resize',
      { tenants: part.tenants, instances, waitMs },
      { timeoutMs: waitMs + guestMarginMs },
    );
  }

  /** What was lent may have been needed while the change was under way: what the guest said last counts. */
  #reserveWhatIsBack(unit: FleetUnit, id: InstanceId): void {
    const placed = unit.placed.get(id);
    const memory = placed?.info?.grant.memory ?? 0;
    if (placed !== undefined && memory > placed.reserved.memory)
      placed.reserved = { ...placed.reserved, memory: memory as Resources['memory'] };
  }

  #answer(
    { id, present, wanted, refused, waits }: Admitted,
    inside: InstanceChange | undefined,
    unit: FleetUnit,
    settled: Settled,
    durationMs: number,
  ): ResizeResult['instances'] {
    const spec = unit.placed.get(id)?.spec;
    const { tenant, workload } = inside ?? spec ?? {};
    if (tenant === undefined || workload === undefined) return [];
    const changes = mergeChanges({
      before: present,
      wanted,
      inside,
      refused,
      waits,
      failures: settled.failures,
      shortBytes: wanted.memory < present.memory ? settled.shortBytes : 0,
      durationMs,
    });
    const connections = { ...(inside?.connections ?? { open: 0, kept: 0, dropped: 0 }) };
    return [{ instance: id, tenant, workload, changes, connections }];
  }
}

function reserve(unit: FleetUnit, id: InstanceId, reserved: Resources): void {
  const placed = unit.placed.get(id);
  if (placed !== undefined) placed.reserved = reserved;
}

/** A unit leaves its instance what the guest's kernel holds as its limit. */
function reserveWhatHolds(placed: Placed | undefined, changes: readonly ResourceChange[]): void {
  if (placed === undefined) return;
  for (const { resource, after } of changes) {
    if (after !== null && resource !== 'bandwidth')
      placed.reserved = { ...placed.reserved, [resource]: after };
  }
}
