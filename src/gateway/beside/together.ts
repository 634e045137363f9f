// What gateways that run at once must keep in common: tenants' limits, who sends to which instance, held connections. Owns what they
// tell each other of it, and what follows from that here. Does not own the links (beside.ts), nor the counts themselves.
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import { inRounds } from '../../base/in-rounds.ts';
import type { Managed, ManageParams } from '../../protocol/beside.ts';
import type { Lines } from '../bandwidth/lines.ts';
import { besideTiming, type GatewayConfig } from '../config.ts';
import type { Functions } from '../invoke/functions.ts';
import type { Moves } from '../held/move/moves.ts';
import { identify } from '../../sys/process.ts';
import type { PoolEffects } from '../invoke/effects.ts';
import type { RequestRates } from '../limits/request-rate.ts';
import type { Connections } from '../limits/tenant-connections.ts';
import { Beside, type BesideEvent, type BesideParts, type BesidePeer, type Carries } from './beside.ts';
import { carriesOf } from './carries.ts';
import { homeOf } from './home.ts';

export interface TogetherParts extends Pick<BesideParts, 'layout' | 'others' | 'log' | 'onGone'> {
  readonly place: NonNullable<GatewayConfig['place']>;
  readonly connections: Connections;
  readonly rates: RequestRates;
  readonly lines: Lines;
  readonly functions: () => Functions;
  /** How many connections here may bring another invocation. */
  readonly asking: () => number;
  /** Held connections that come from others, or go to another. */
  readonly moves: () => Pick<Moves, 'giver' | 'takenFrom'>;
  /** Does what another's caller asks for to a held connection of this one. */
  readonly manage: (params: ManageParams) => Managed;
}

/** 0 where there is no /proc: older than all, for then nobody can tell. */
const ownStartTicks = identify(process.pid)?.startTicks ?? 0;

const nobody: Managed = { is: 'unknown' };

export class Together {
  readonly #parts: TogetherParts;
  readonly #beside: Beside;
  /** What was said last, by whoever is linked. */
  readonly #said = new Map<BesidePeer, Carries>();
  #leaving = false;
  #told = '';
  #soon: NodeJS.Timeout | undefined;

  constructor(parts: TogetherParts) {
    this.#parts = parts;
    const { layout, others, log, onGone, manage } = parts;
    this.#beside = new Beside({
      layout,
      others,
      log,
      onGone,
      name: () => ({
        pid: process.pid,
        startTicks: ownStartTicks,
        place: parts.place.index,
        leaves: this.#leaving,
      }),
      onLinked: (peer) => this.#greet(peer),
      onNamed: (peer) => this.#tellHeld(peer),
      onEvent: (event, peer) => this.#heard(event, peer),
      onUnlinked: (peer) => this.#forget(peer),
      handlers: {
        manage: async (params) => manage(params),
        sync: async () => {
          this.#tell();
          return {};
        },
      },
      onTime: () => this.#tell(),
    });
  }

  /** Lets others connect, and connects to those before. */
  listen(): Promise<void> {
    return this.#beside.listen();
  }

  /** The processes of all others that run. */
  get pids(): number[] {
    return this.#beside.pids;
  }

  /** How many of those before have not said anything yet. */
  get unheard(): number {
    return this.#beside.before.filter((pid) => this.#saidBy(pid) === undefined).length;
  }

  /** Whether one before this one, in its place, may still send invocations; so it is as long as it has not said otherwise. */
  get othersMayInvoke(): boolean {
    return this.#beside.before.some((pid) => {
      const peer = this.#beside.linkTo(pid);
      const name = peer === undefined ? undefined : this.#beside.nameOf(peer);
      return (
        (name === undefined || name.place === this.#parts.place.index) &&
        this.#saidBy(pid)?.mayInvoke !== false
      );
    });
  }

  /** Something was counted that has a limit, which the others are to know soon. */
  counted(): void {
    if (this.#soon !== undefined || this.#beside.isAlone) return;
    this.#soon = setTimeout(() => {
      this.#soon = undefined;
      this.#tell();
    }, besideTiming.tellLimitedMs);
  }

  /** Resolves when all others have told what they have counted until now. Who does not in time is not waited for. */
  readonly hear = inRounds(async () => {
    const told = this.#beside.peers.map((peer) =>
      peer.call('sync', {}, { timeoutMs: besideTiming.patienceMs }).catch(() => undefined),
    );
    await Promise.all(told);
  });

  /** Another gateway serves in this place from now on. */
  leave(): void {
    this.#leaving = true;
    this.#beside.nameChanged();
  }

  /**
   * Asks all, one after the other, for there is at most one that has the connection. Those that ran before others first: it goes from
   * one to a later one only, so who says that it has it not any more had sent it to one that is still to be asked.
   * @throws BellowsError when one that may have it does not answer
   */
  async manage(params: ManageParams): Promise<Managed> {
    for (const each of this.#beside.byAge) {
      const managed = each === 'self' ? this.#parts.manage(params) : await this.#askToManage(each, params);
      if (managed.is !== 'unknown') return managed;
    }
    return nobody;
  }

  async #askToManage(peer: BesidePeer, params: ManageParams): Promise<Managed> {
    return peer.call('manage', params).catch((thrown: unknown) => {
      // With its process its connections ended.
      if (peer.closed) return nobody;
      throw thrown;
    });
  }

  /** What a function's pool is to others. */
  lendingOf(workload: WorkloadKey): PoolEffects['lending'] {
    const { index, of } = this.#parts.place;
    return {
      isHome: (id) => homeOf(id, of) === index,
      homeOf: (id) => this.#beside.servingAt(homeOf(id, of)),
      say: (to, id, say) => (to as BesidePeer).emit('lending', { workload, id, say }),
      sayToHomes: (id, say, except) => {
        for (const peer of this.#beside.at(homeOf(id, of)))
          if (peer !== except) peer.emit('lending', { workload, id, say });
      },
    };
  }

  close(): void {
    clearTimeout(this.#soon);
    this.#beside.close();
  }

  #saidBy(pid: number): Carries | undefined {
    const link = this.#beside.linkTo(pid);
    return link === undefined ? undefined : this.#said.get(link);
  }

  #heard(event: Exclude<BesideEvent, { event: 'is' }>, peer: BesidePeer): void {
    const { lines, rates, functions } = this.#parts;
    switch (event.event) {
      case 'carries':
        this.#said.set(peer, event.data);
        this.#sum();
        return;
      case 'spent':
        for (const spent of event.data) {
          lines.passedElsewhere(spent);
          if (spent.owner === 'tenant') rates.of(spent.name as TenantId).cameElsewhere(spent.requests);
        }
        return;
      case 'lending':
        functions().lending(peer, event.data);
    }
  }

  #greet(peer: BesidePeer): void {
    // What nobody was there to be told is not owed.
    if (this.#beside.peers.length === 1) this.#takeSpent();
    // What it is told now is not what the others were told last.
    this.#told = '';
    peer.emit('carries', this.#carries());
  }

  /** What is here of instances that are at home with it. */
  #tellHeld(peer: BesidePeer): void {
    const place = this.#beside.nameOf(peer)?.place;
    for (const { workload, id } of this.#parts.functions().borrowed())
      if (homeOf(id, this.#parts.place.of) === place) peer.emit('lending', { workload, id, say: 'holds' });
  }

  #forget(peer: BesidePeer): void {
    this.#parts.functions().neighbourGone(peer);
    if (this.#said.delete(peer)) this.#sum();
  }

  /** Tells everybody of a change. */
  #tell(): void {
    const { peers } = this.#beside;
    if (peers.length === 0) return;
    const spent = this.#takeSpent();
    const carries = this.#carries();
    const text = JSON.stringify(carries);
    const isNews = text !== this.#told;
    this.#told = text;
    for (const peer of peers) {
      if (spent.length > 0) peer.emit('spent', spent);
      if (isNews) peer.emit('carries', carries);
    }
  }

  #takeSpent() {
    const { lines, rates } = this.#parts;
    return [
      ...[...lines.takeUntold()].map((passed) => ({ ...passed, requests: 0 })),
      ...[...rates.takeUntold()].map(([name, requests]) => ({
        owner: 'tenant' as const,
        name,
        requests,
        bytesIn: 0,
        bytesOut: 0,
      })),
    ];
  }

  #carries(): Carries {
    const { given: moved, successorPid: movedTo } = this.#parts.moves().giver;
    const functions = this.#parts.functions();
    const left = this.#leaving && this.#parts.asking() === 0 && functions.quiet;
    return carriesOf({
      mayInvoke: !left,
      connections: this.#parts.connections.carried(),
      waiting: functions.waitingByTenant(),
      movedTo,
      moved,
    });
  }

  /**
   * What it has sent here and has not come yet; less than nothing for what has come and it still counts.
   * @param from undefined: it sends nothing here
   */
  #onTheWay(from: number | undefined, { tenant, moved = 0 }: Carries['tenants'][number]): number {
    return from === undefined ? 0 : moved - this.#parts.moves().takenFrom(from, tenant);
  }

  /** What all others carry together, of tenants that have something. */
  #sum(): void {
    const connections = new Map<TenantId, number>();
    const waiting = new Map<TenantId, number>();
    for (const [peer, { tenants, movedTo }] of this.#said) {
      const from = movedTo === process.pid ? this.#beside.nameOf(peer)?.pid : undefined;
      for (const each of tenants) {
        connections.set(
          each.tenant,
          (connections.get(each.tenant) ?? 0) + each.connections + this.#onTheWay(from, each),
        );
        waiting.set(each.tenant, (waiting.get(each.tenant) ?? 0) + each.waiting);
      }
    }
    this.#parts.connections.setElsewhere(connections);
    this.#parts.functions().setWaitingElsewhere(waiting);
  }
}
