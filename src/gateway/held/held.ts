// All held connections, by function: follows the route table and the clock. Owns the map. Does not own what connections do.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import type { Managed, ManageParams } from '../../protocol/beside.ts';
import type { RouteChange, WorkloadRoute } from '../../protocol/routes.ts';
import type { Lines } from '../bandwidth/lines.ts';
import { besideTiming } from '../config.ts';
import type { Functions } from '../invoke/functions.ts';
import type { RequestRates } from '../limits/request-rate.ts';
import type { Connections } from '../limits/tenant-connections.ts';
import type { Logger } from '../../sys/log.ts';
import type { Gauges, Meter } from '../meter.ts';
import { HeldFunction } from './held-function.ts';
import { manage } from './manage.ts';
import { Moves, type MovesParts } from './move/moves.ts';

export interface HeldServices {
  readonly clock: Clock;
  readonly functions: Functions;
  readonly meter: Meter;
  readonly lines: Lines;
  readonly rates: RequestRates;
  readonly connections: Connections;
  readonly layout: MovesParts['layout'];
  /** The gateways before this one. */
  readonly others: MovesParts['others'];
  readonly place: MovesParts['place'];
  readonly log: Logger;
  /** The address and port at which the gateway is reached from its own machine. */
  authority(): string;
}

export class Held {
  readonly #services: HeldServices;
  readonly #functions = new Map<WorkloadKey, HeldFunction>();

  readonly moves: Moves;

  constructor(services: HeldServices) {
    this.#services = services;
    this.moves = new Moves(services, {
      take: (snapshot, client) => {
        const held = this.#functions.get(snapshot.workload);
        return held && { tenant: held.tenant, begin: held.takeOver(snapshot, client) };
      },
      all: () => [...this.#functions.values()].flatMap((held) => held.candidates()),
    });
  }

  /** Another gateway serves: all go there. Resolves when none is left. */
  async leave(): Promise<void> {
    this.moves.leave();
    while (this.size > 0) await sleep(besideTiming.lookEveryMs);
  }

  /** Undefined when it takes no WebSockets. */
  function(key: WorkloadKey): HeldFunction | undefined {
    return this.#functions.get(key);
  }

  /** What another gateway's caller asks for. It may have been sent here just now. */
  manage(params: ManageParams): Managed {
    this.moves.sweep();
    return manage(this.#functions.get(params.workload), params, Buffer.from(params.body, 'base64'));
  }

  onChange(change: RouteChange): void {
    if (change.change === 'workload') this.#setWorkload(change.workload);
    else if (change.change === 'workloadGone') this.#end(change.key, 'The function was deleted.');
  }

  /** How many connections there are. */
  get size(): number {
    let sum = this.moves.giver.sent;
    for (const { size } of this.#functions.values()) sum += size;
    return sum;
  }

  /** Closes what idles or lasts too long. */
  sweep(): void {
    for (const each of this.#functions.values()) each.sweep();
  }

  /** To be called after those of functions, to which connections are added. */
  addGauges(gauges: Map<WorkloadKey, Gauges>): void {
    for (const [key, { size }] of this.#functions) {
      const others = gauges.get(key);
      if (others !== undefined && size > 0) gauges.set(key, { ...others, connections: size });
    }
  }

  /** Asks all clients to go. Resolves when they have. */
  async stop(): Promise<void> {
    this.moves.close();
    const functions = [...this.#functions.values()];
    for (const each of functions) each.closeAll('Bellows stops.');
    while (functions.some(({ connected }) => connected > 0)) await sleep(besideTiming.lookEveryMs);
  }

  /** Ends what is left. */
  terminateAll(): void {
    for (const each of this.#functions.values()) each.terminateAll();
  }

  #setWorkload({ key, tenant, kind, websocket }: WorkloadRoute): void {
    if (kind !== 'function' || websocket === null) {
      this.#end(key, 'The function takes no WebSockets any more.');
      return;
    }
    const present = this.#functions.get(key);
    if (present === undefined)
      this.#functions.set(key, new HeldFunction(key, websocket, this.#servicesOf(key, tenant)));
    else present.setRoute(websocket);
  }

  #servicesOf(key: WorkloadKey, tenant: TenantId): ConstructorParameters<typeof HeldFunction>[2] {
    const { clock, functions, lines, meter, rates, connections, authority } = this.#services;
    return {
      clock,
      authority,
      pool: () => functions.pool(key),
      line: () => lines.ofWorkload(key),
      counter: () => meter.of(key),
      tenant,
      giver: this.moves.giver,
      connections: () => connections.of(tenant),
      mayRequest: () => rates.of(tenant).enter(),
    };
  }

  #end(key: WorkloadKey, reason: string): void {
    this.#functions.get(key)?.end(reason);
    this.#functions.delete(key);
  }
}
