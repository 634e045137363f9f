// One instance as the agent holds it: its state, its grant, and what can be asked of it while it runs.
// Does not own starting (starter.ts), nor ending it (instances.ts), nor which limits are right (resize/).
//
//   bound ──ready──▶ idle ◀──thaw── frozen          (busy is what the gateway knows)
//     │               │ └───freeze───▶ │
//     └───────────────┴── stopping ◀───┘ ──▶ gone
import type { ConnectionCounts, InstanceInfo, InstanceState, InstanceUsage } from '../../model/instance.ts';
import type { Resources } from '../../model/resources.ts';
import { hostUnitId, type InstanceId } from '../../base/ids.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { Endpoint, InstanceSpec } from '../../protocol/agent.ts';
import { frameType } from '../../protocol/instance.ts';
import { letRunSooner } from '../../sys/priority.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { patience } from '../patience.ts';
import type { GrantBook, GrantPhase } from '../grants.ts';
import type { Cell } from './cells.ts';
import type { Handle, Handles } from './handle.ts';
import { noConnections, sumOf, TunnelCounts } from './tunnel-counts.ts';

/** User code may compute without a pause; the notice then reaches it later, and nobody waits longer for it. */
const noticeTimeoutMs = 1000;
/** A collection of a heap of several GiB takes a second or two, emulated longer; whoever asks waits 30 s. */
const trimTimeoutMs = Math.min(5_000 * patience, 20_000);

/** What was lent of an instance's memory it has back before it runs: see resize/lending.ts. */
export interface LendingSide {
  /** Before it runs: for what it is there for, or for a moment to free memory. */
  readonly beforeRun: (id: InstanceId, why: 'thaw' | 'trim') => Promise<void>;
  /** It stands still again after a trim. */
  readonly stoodStill: (id: InstanceId) => Promise<void>;
}

export interface InstanceOptions {
  readonly spec: InstanceSpec;
  readonly cell: Cell;
  readonly grants: GrantBook;
  readonly endpoint: Endpoint;
  readonly pooled: boolean;
  readonly startedAtMs: number;
  readonly runtimeDirectory: string;
  readonly grant: Resources;
  readonly desired: Resources;
  readonly cgroup: Cgroup;
  readonly lending: LendingSide;
  readonly sandboxName: 'bubblewrap' | 'none';
  readonly handles: Pick<Handles, 'write' | 'replace'>;
  readonly onChange: (info: InstanceInfo) => void;
}

/** Two turns of the event loop and more. What is written then takes a millisecond that a resize need not wait for. */
const afterAnswerMs = 2;

export class Instance {
  readonly spec: InstanceSpec;
  readonly cell: Cell;
  readonly grants: GrantBook;
  readonly endpoint: Endpoint;
  readonly pooled: boolean;
  readonly #options: InstanceOptions;
  #phase: 'bound' | 'ready' | 'stopping' | 'gone' = 'bound';
  /** As the kernel enforces it. */
  #grant: Resources;
  /** What the application counts on of its memory, while a part of that is lent. */
  #promisedBytes: Bytes | null = null;
  #desired: Resources;
  /** By the count of the runtime inside. */
  #direct = noConnections;
  readonly #tunnels = new TunnelCounts();
  /** What the gateway wants, and how many trims need it to run all the same. */
  #wantFrozen = false;
  #trims = 0;
  #trimmedToBytes: number | null = null;
  #frozen = false;
  /** It was thawed for a trim alone. */
  #runsForTrim = false;
  #converging: Promise<void> = Promise.resolve();
  /** Set while there is a grant that the application has not been told. */
  #telling: NodeJS.Timeout | undefined;

  constructor(options: InstanceOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.cell = options.cell;
    this.grants = options.grants;
    this.endpoint = options.endpoint;
    this.pooled = options.pooled;
    this.#grant = options.grant;
    this.#desired = options.desired;
    this.cell.onConnections = (counts) => {
      this.#direct = counts;
      this.#changed();
    };
  }

  get id(): InstanceId {
    return this.spec.id;
  }

  get state(): InstanceState {
    if (this.#phase === 'ready') return this.#wantFrozen ? 'frozen' : 'idle';
    return this.#phase;
  }

  get grant(): Resources {
    return this.#grant;
  }

  /** What the application has been told that it may use. */
  get told(): Resources {
    return { ...this.#grant, memory: this.#promisedBytes ?? this.#grant.memory };
  }

  get connections(): ConnectionCounts {
    return sumOf(this.#direct, this.#tunnels.counts);
  }

  /** A gateway tells of the connections that it carries here itself. @param beside as in {@link TunnelCounts} */
  setTunnels(gateway: number, counts: ConnectionCounts, beside: readonly number[] | null): void {
    this.#tunnels.told(gateway, counts, beside);
    this.#changed();
  }

  /** Its working set as the last trim left it; null when there was none. */
  get trimmedToBytes(): number | null {
    return this.#trimmedToBytes;
  }

  info(): InstanceInfo {
    const { spec } = this;
    return {
      id: spec.id,
      tenant: spec.tenant,
      workload: spec.workload,
      generation: spec.generation,
      kind: spec.kind,
      unit: hostUnitId,
      state: this.state,
      pid: this.cell.processes.main.pid,
      startedAtMs: this.#options.startedAtMs,
      grant: this.#grant,
      desired: this.#desired,
      ...this.#promised(),
      connections: this.connections,
    };
  }

  /** Everything it uses: what its group is charged, and what it was charged before it came there. */
  usage(): InstanceUsage {
    const before = this.cell.chargedBeforeBytes;
    const usage = this.#options.cgroup.usage(this.cell.group);
    return {
      ...usage,
      memoryBytes: usage.memoryBytes + before,
      workingSetBytes: usage.workingSetBytes + before,
      memoryPeakBytes: usage.memoryPeakBytes + before,
    };
  }

  /** Writes the handle, unless there is nothing to adopt any more. */
  save(): void {
    if (this.#phase !== 'gone') this.#options.handles.write(this.#handle());
  }

  becomeReady(): void {
    this.#phase = 'ready';
    letRunSooner(this.cell.processes.main.pid);
    this.save();
    this.#changed();
  }

  /** Of an adopted instance that was frozen. */
  foundFrozen(): void {
    this.#frozen = true;
    this.#wantFrozen = true;
  }

  beginStop(): void {
    if (this.#phase === 'gone') return;
    this.#phase = 'stopping';
    this.#wantFrozen = false;
    this.#changed();
  }

  /** Nothing of it is left; its handle is not written again. */
  async becomeGone(): Promise<void> {
    this.#phase = 'gone';
    clearTimeout(this.#telling);
    this.#changed();
    await this.grants.close();
  }

  /** Resolves when every process stands still. Does nothing while it starts or stops. */
  async freeze(): Promise<void> {
    if (this.#phase !== 'ready' || !this.#options.cgroup.capabilities.freeze || this.#wantFrozen)
      return this.#converging;
    this.#wantFrozen = true;
    await this.#converge();
    this.#changed();
  }

  async thaw(): Promise<void> {
    const wasFrozen = this.#wantFrozen;
    this.#wantFrozen = false;
    // Also when it was not wanted frozen: a stop that began has wished it awake, and nothing else yet.
    await this.#converge();
    if (wasFrozen) this.#changed();
  }

  /** Collects garbage inside and drops clean cache. A frozen instance runs for that, and stands still again after it. */
  async trim(): Promise<{ beforeBytes: number; afterBytes: number }> {
    const { cgroup } = this.#options;
    const { group, link } = this.cell;
    const beforeBytes = cgroup.usage(group).memoryBytes;
    this.#trims += 1;
    try {
      await this.#converge();
      // What it answers is its own word; the group's figures count.
      if (link !== null && this.#phase === 'ready') await link.request(frameType.trim, '', trimTimeoutMs);
      await cgroup.dropCache(group);
      this.#trimmedToBytes = this.usage().workingSetBytes;
    } finally {
      this.#trims -= 1;
      await this.#converge();
    }
    return { beforeBytes, afterBytes: cgroup.usage(group).memoryBytes };
  }

  /** Drops clean cache alone: the program is not asked, nor woken. */
  async dropCache(): Promise<{ beforeBytes: number; afterBytes: number }> {
    const { cgroup } = this.#options;
    const { group } = this.cell;
    const beforeBytes = cgroup.usage(group).memoryBytes;
    await cgroup.dropCache(group);
    return { beforeBytes, afterBytes: cgroup.usage(group).memoryBytes };
  }

  /**
   * What the kernel enforces now: known at once, told and written when the answer to whoever asked for it has left.
   * @param promisedBytes what the application may go on counting on of its memory; null: the grant
   */
  granted(grant: Resources, promisedBytes: Bytes | null): void {
    const lends = promisedBytes !== null || this.#promisedBytes !== null;
    this.#grant = grant;
    this.#promisedBytes = promisedBytes;
    this.#changed();
    this.#telling ??= setTimeout(() => {
      this.#telling = undefined;
      if (this.#phase === 'gone') return;
      this.#options.handles.replace(this.#handle());
      // It is not told of what is lent.
      if (!lends || !this.grants.says(this.told)) void this.#notify('current');
    }, afterAnswerMs);
  }

  /** It has again what it was promised, which is what it was told all the time. */
  givenBack(grant: Resources, desired: Resources): void {
    this.#desired = desired;
    this.granted(grant, null);
  }

  /** Tells the application what it is about to be; resolves when it has heard, or can not hear now. */
  async announce(grant: Resources): Promise<void> {
    // What stood for a moment is not told any more.
    clearTimeout(this.#telling);
    this.#telling = undefined;
    await this.#notify('changing', grant);
  }

  /** One that stands still reads it later. */
  async #notify(phase: GrantPhase, grant = this.told): Promise<void> {
    const notice = this.grants.change(grant, phase);
    const payload = JSON.stringify(notice);
    const { link } = this.cell;
    if (link === null || this.#frozen) {
      link?.tell(frameType.grant, payload);
      return;
    }
    await link.request(frameType.grant, payload, noticeTimeoutMs).catch(() => undefined);
  }

  /** What is asked for, granted or not yet. */
  setDesired(desired: Resources): void {
    this.#desired = desired;
  }

  /** One after the other, each towards what is wanted by then. */
  #converge(): Promise<void> {
    this.#converging = this.#converging
      .catch(() => undefined)
      .then(async () => {
        const wanted = this.#wantFrozen && this.#trims === 0;
        const { cgroup, lending } = this.#options;
        const forTrim = this.#wantFrozen;
        if (!wanted && (this.#frozen || this.#runsForTrim))
          await lending.beforeRun(this.id, forTrim ? 'trim' : 'thaw');
        this.#runsForTrim = !wanted && forTrim;
        if (wanted === this.#frozen) return;
        if (wanted) await cgroup.freeze(this.cell.group);
        else await cgroup.thaw(this.cell.group);
        this.#frozen = wanted;
        if (wanted) await lending.stoodStill(this.id);
      });
    return this.#converging;
  }

  #handle(): Handle {
    const { spec, cell, endpoint, pooled } = this;
    const { startedAtMs, runtimeDirectory, sandboxName } = this.#options;
    return {
      version: 1,
      spec,
      slot: cell.slot.name,
      processes: cell.processes,
      sandbox: sandboxName,
      endpoint,
      runtimeApiPort: cell.api?.port ?? null,
      runtimeDirectory,
      startedAtMs,
      ready: this.#phase === 'ready' || this.#phase === 'stopping',
      pooled,
      grant: this.#grant,
      desired: this.#desired,
      ...this.#promised(),
      grantGeneration: this.grants.notice.generation,
      chargedBeforeBytes: cell.chargedBeforeBytes,
    };
  }

  #promised(): Pick<InstanceInfo, 'promised'> {
    return this.#promisedBytes === null ? {} : { promised: { memory: this.#promisedBytes } };
  }

  #changed(): void {
    this.#options.onChange(this.info());
  }
}
