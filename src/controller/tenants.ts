// Tenants: made, changed, limited, removed. Owns the steps and their order: store, credentials file, unit, gateways.
import type { Clock } from '../base/clock.ts';
import { BellowsError } from '../base/errors.ts';
import { defaultTenantId, type TenantId } from '../base/ids.ts';
import type { Transaction } from '../model/change.ts';
import { unlimited, type Tenant, type TenantLimits } from '../model/tenant.ts';
import type { Logger } from '../sys/log.ts';
import { tenantSpecOf, type AgentLink } from './agent-link.ts';
import type { AuditLog } from './audit.ts';
import type { ChangeOptions } from './control-plane.ts';
import { newTenantCredentials, writeCredentials } from './credentials.ts';
import { countWishes } from './resize/counted-limits.ts';
import type { Rebalancer } from './rebalance/rebalancer.ts';
import { namedLimits } from './resize/plan-input.ts';
import type { Resizer } from './resize/resizer.ts';
import type { RoutePublisher } from './routes/publisher.ts';
import { KeyedQueue } from './serial.ts';
import type { DesiredState } from './state/desired.ts';
import type { Workloads } from './workloads.ts';

const defaultWeight = 1;

export interface TenantsParts {
  readonly desired: DesiredState;
  readonly link: AgentLink;
  readonly resizer: Resizer;
  readonly rebalancer: Pick<Rebalancer, 'rebalance'>;
  readonly publisher: RoutePublisher;
  readonly workloads: Workloads;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly credentialsPath: string;
  readonly adminToken: string;
}

export class Tenants {
  readonly #parts: TenantsParts;
  readonly #queue = new KeyedQueue<TenantId>();
  readonly #file = new KeyedQueue<'credentials'>();

  constructor(parts: TenantsParts) {
    this.#parts = parts;
  }

  put(
    id: TenantId,
    change: { readonly limits?: Partial<TenantLimits>; readonly weight?: number },
  ): Promise<{ tenant: Tenant; created: boolean }> {
    return this.#queue.run(id, async () => {
      const { desired } = this.#parts;
      const present = desired.tenant(id);
      if (present === undefined) return { tenant: await this.#create(id, change), created: true };
      if (change.weight !== undefined && change.weight !== present.weight) {
        const tenant = await desired.putTenant(id, (now) => ({
          ...(now ?? present),
          weight: change.weight ?? present.weight,
        }));
        await this.#tellAgent(tenant);
        this.#parts.rebalancer.rebalance(`${id} weighs otherwise`);
      }
      if (change.limits !== undefined) {
        const transaction = await this.setLimits(id, change.limits, { plan: false, waitMs: 0 });
        if (transaction.status === 'infeasible') throw new BellowsError('Infeasible', transaction.reason);
      }
      return { tenant: desired.requireTenant(id), created: false };
    });
  }

  async setLimits(id: TenantId, limits: Partial<TenantLimits>, options: ChangeOptions): Promise<Transaction> {
    const { desired, resizer, publisher } = this.#parts;
    const present = desired.requireTenant(id);
    return resizer.change({
      wish: { limits: { tenant: id, wanted: namedLimits(limits) } },
      counts: countWishes(id, present.limits, limits),
      options,
      store: async () => {
        const tenant = await desired.putTenant(id, (now) => ({
          ...(now ?? present),
          limits: { ...(now ?? present).limits, ...limits },
        }));
        // Connections, concurrency and requests are counted by the gateway: its limits hold at once.
        publisher.tenant(tenant);
      },
      event: { type: 'limits.changed', tenant: id, subject: `the limits of tenant ${id}` },
    });
  }

  remove(id: TenantId): Promise<void> {
    return this.#queue.run(id, async () => {
      const { desired, workloads, link, resizer, publisher, audit } = this.#parts;
      desired.requireTenant(id);
      if (id === defaultTenantId)
        throw new BellowsError(
          'Forbidden',
          'The default tenant can not be removed.',
          'Remove its workloads instead.',
        );
      await workloads.removeAll(id);
      await desired.removeTenant(id);
      publisher.tenantGone(id);
      resizer.forgetTenant(id);
      await this.writeFile();
      await link.agent.call('removeTenant', { tenant: id }).catch((thrown: unknown) => {
        // Its group is empty; the agent removes what it does not know when it starts.
        this.#parts.log.warn({ err: thrown, tenant: id }, "a removed tenant's group could not be removed");
      });
      audit.note({ type: 'tenant.removed', tenant: id, message: `Tenant ${id} was removed.` });
    });
  }

  /** Replaces the credentials file; one write at a time, each with everything that is known by then. */
  writeFile(): Promise<void> {
    const { credentialsPath, adminToken, desired } = this.#parts;
    return this.#file.run('credentials', () =>
      writeCredentials(credentialsPath, adminToken, desired.tenants()),
    );
  }

  async #create(
    id: TenantId,
    change: { readonly limits?: Partial<TenantLimits>; readonly weight?: number },
  ): Promise<Tenant> {
    const { desired, clock, publisher, audit } = this.#parts;
    const uid = await desired.takeUid();
    const tenant = await desired.putTenant(id, () => ({
      id,
      uid,
      // Unique and lasting, as its user number is.
      accountId: String(uid).padStart(12, '0'),
      limits: { ...unlimited, ...change.limits },
      weight: change.weight ?? defaultWeight,
      credentials: newTenantCredentials(),
      createdAtMs: clock.nowMs(),
    }));
    await this.writeFile();
    await this.#tellAgent(tenant);
    publisher.tenant(tenant);
    audit.note({
      type: 'tenant.created',
      tenant: id,
      message: `Tenant ${id} was made.`,
      data: { limits: tenant.limits },
    });
    return tenant;
  }

  /** An agent that is away is told when it comes back. */
  async #tellAgent(tenant: Tenant): Promise<void> {
    if (this.#parts.link.connected) await this.#parts.link.agent.call('ensureTenant', tenantSpecOf(tenant));
  }
}
