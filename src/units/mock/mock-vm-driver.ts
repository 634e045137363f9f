// A driver of virtual machines that are not there, for testing what owns them: claims are numbers, guests are MockAgents.
// What happens is written to one journal in its order. Tests only.
import { BellowsError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller, EventOf, Handlers } from '../../protocol/rpc.ts';
import { noResources } from '../no-resources.ts';
import { defaultUnitCapabilities, type Unit, type UnitEvent, type UnitHandle } from '../port.ts';
import type { MemoryClaim, MoveReport, VmDriver, VmUnit } from '../vm/port.ts';
import { MockAgent } from './mock-agent.ts';

const firstPid = 200_001;
const defaultTimeoutMs = 5_000;
type GuestMethod = keyof GuestProtocol['methods'];
type GuestEvent = EventOf<GuestProtocol>;

export class MockVm implements VmUnit {
  readonly handle: UnitHandle;
  readonly provisioned: Resources;
  readonly pid: number;
  readonly mock: MockAgent;
  readonly outlivedByConnections = true;
  readonly door = { host: '127.0.0.1', port: 1, token: 'token' };
  readonly guest: Caller<GuestProtocol>;
  readonly journal: string[];
  /** Answers nothing, as a guest whose kernel hangs. */
  hung = false;
  connected = true;
  lost = false;
  carriedPackets = 0;
  /** Its state is on disk and it has no process. */
  resting = false;
  claimedBytes = 0;
  /** The most that the guest can spare; by default all. */
  spareBytes = Number.POSITIVE_INFINITY;
  /** What nothing inside has. */
  freeBytes = Number.MAX_SAFE_INTEGER;
  lines: string[] = [];
  readonly #listeners = new Set<(event: UnitEvent) => void>();
  readonly #guestListeners = new Set<(event: GuestEvent) => void>();

  constructor(
    id: UnitId,
    pid: number,
    size: Resources,
    journal: string[],
    mock: MockAgent = new MockAgent(size),
  ) {
    this.handle = { version: 1, driver: 'vm', id, data: {} };
    this.pid = pid;
    this.provisioned = size;
    this.journal = journal;
    this.mock = mock;
    this.mock.listen((event) => this.emitGuest(event));
    this.guest = { call: (name, params, options) => this.#call(name, params, options?.timeoutMs) as never };
  }

  get id(): UnitId {
    return this.handle.id;
  }

  /** Another machine with all that is in this one. */
  movedTo(pid: number): MockVm {
    const second = new MockVm(this.id, pid, this.provisioned, this.journal, this.mock);
    second.claimedBytes = this.claimedBytes;
    return second;
  }

  get claimed(): Resources {
    return { ...noResources, memory: this.claimedBytes as Bytes };
  }

  get agent(): Caller<AgentProtocol> {
    return this.guest;
  }

  subscribe(listener: (event: UnitEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  subscribeGuest(listener: (event: GuestEvent) => void): () => void {
    this.#guestListeners.add(listener);
    return () => this.#guestListeners.delete(listener);
  }

  emitGuest(event: GuestEvent): void {
    for (const listener of [...this.#guestListeners]) listener(event);
  }

  /** The agent inside is killed, and comes back. */
  disconnect(): void {
    this.connected = false;
    this.#tell({ type: 'disconnected' });
  }

  reconnect(): void {
    this.connected = true;
    this.#tell({ type: 'connected' });
  }

  /** Its process is killed. */
  lose(reason: string): void {
    this.lost = true;
    this.#tell({ type: 'lost', reason });
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    this.#guestListeners.clear();
  }

  #tell(event: UnitEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  async #call(name: GuestMethod, params: unknown, timeoutMs = defaultTimeoutMs): Promise<unknown> {
    if (this.resting) throw new BellowsError('Unavailable', `The unit ${this.id} is at rest.`);
    if (this.lost) throw new BellowsError('Unavailable', `The unit ${this.id} is lost.`);
    if (this.hung || !this.connected) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(timeoutMs, defaultTimeoutMs)));
      throw new BellowsError('Unavailable', `No answer to ${name} within ${timeoutMs} ms.`);
    }
    if (name !== 'readLogs' && name !== 'readClock') this.journal.push(`${this.id} ${name}`);
    const handler = this.#handlers()[name] as (params: unknown) => Promise<unknown>;
    return handler(params);
  }

  #handlers(): Handlers<GuestProtocol> {
    const unused = (): Promise<never> => Promise.reject(new Error('not used by the fleet'));
    return {
      ...this.mock.handlers,
      readLogs: async ({ cursor, waitMs, workload }) => {
        const from = Number(cursor ?? 0);
        if (from >= this.lines.length && waitMs > 0) await new Promise((resolve) => setTimeout(resolve, 10));
        const entries = this.lines.slice(from).map((line) => ({ timeMs: 0, instance: workload, line }));
        return { entries, cursor: String(Math.max(from, this.lines.length)) };
      },
      personalise: unused,
      identify: async () => ({
        totalBytes: this.provisioned.memory,
        freeBytes: this.freeBytes,
        cleanCacheBytes: 0,
        garbageBytes: 0,
        idleStorageBytes: 0,
        usedBytes: 0,
        instances: [],
      }),
      makeClaimable: unused,
      rehearse: async () => ({}),
      readClock: async () => ({ nowMs: Date.now() }),
      shiftClock: async () => ({}),
      setUsable: async ({ memoryBytes }) => {
        this.journal.push(`${this.id} usable ${memoryBytes}`);
        return {};
      },
      setStorage: async ({ usableBytes }) => ({ usableBytes, trimmedBytes: 0 }),
      setBandwidth: async () => ({}),
    };
  }
}

export class MockVmDriver implements VmDriver {
  readonly name = 'vm';
  readonly capabilities = { ...defaultUnitCapabilities, provision: true, claim: true, resize: true };
  readonly journal: string[] = [];
  readonly vms = new Map<UnitId, MockVm>();
  /** What the next clones fail with. */
  failure: BellowsError | undefined;
  /** What the next machine that wakes is lost with, when it has begun to run. */
  lossOnWaking: string | undefined;
  /** What a move waits for. */
  moving: Promise<void> = Promise.resolve();
  #lastPid = firstPid;

  get all(): MockVm[] {
    return [...this.vms.values()];
  }

  async open(): Promise<UnitHandle[]> {
    return this.all.map(({ handle }) => handle);
  }

  async prepareTemplate(): Promise<void> {
    await Promise.resolve();
  }

  async provision(id: UnitId, size: Resources): Promise<MockVm> {
    if (this.failure !== undefined) throw this.failure;
    this.#lastPid += 1;
    const vm = new MockVm(id, this.#lastPid, size, this.journal);
    this.vms.set(id, vm);
    return vm;
  }

  boot(id: UnitId, size: Resources): Promise<MockVm> {
    return this.provision(id, size);
  }

  async adopt(handle: UnitHandle): Promise<MockVm> {
    const vm = this.vms.get(handle.id);
    if (vm === undefined) throw new BellowsError('NotFound', `There is no unit ${handle.id}.`);
    if (vm.resting) this.journal.push(`${vm.id} woken`);
    vm.resting = false;
    if (this.lossOnWaking !== undefined) {
      this.vms.delete(vm.id);
      throw new BellowsError('UnitLost', this.lossOnWaking);
    }
    return vm;
  }

  async resting({ id }: UnitHandle): Promise<MockVm | undefined> {
    const vm = this.vms.get(id);
    return vm?.resting === true ? vm : undefined;
  }

  provisionReport = (): undefined => undefined;

  async claimMemory(unit: Unit, bytes: number): Promise<MemoryClaim> {
    const vm = this.#of(unit);
    vm.claimedBytes += Math.max(0, Math.min(bytes, vm.spareBytes));
    this.journal.push(`${vm.id} claimed ${vm.claimedBytes}`);
    return { claimedBytes: vm.claimedBytes, durationMs: 0, steps: [], stalled: false };
  }

  async releaseMemory(unit: Unit, bytes: number): Promise<void> {
    const vm = this.#of(unit);
    vm.claimedBytes = Math.max(0, vm.claimedBytes - bytes);
    this.journal.push(`${vm.id} claimed ${vm.claimedBytes}`);
  }

  async setStorage(_unit: Unit, usableBytes: number): Promise<{ usableBytes: number; trimmedBytes: number }> {
    return { usableBytes, trimmedBytes: 0 };
  }

  resize = async (): Promise<void> => undefined;
  claim = async (): Promise<void> => undefined;
  release = async (): Promise<void> => undefined;
  setCpu = async (_unit: Unit, _millicores: number | null): Promise<void> => undefined;
  setBandwidth = async (): Promise<void> => undefined;
  moveToGroup = async (): Promise<void> => undefined;
  close = async (): Promise<void> => undefined;

  async snapshot(unit: Unit, carriedPackets?: number): Promise<UnitHandle> {
    const vm = this.#of(unit);
    if (this.failure !== undefined) throw this.failure;
    if (carriedPackets !== undefined && carriedPackets !== vm.carriedPackets)
      throw new BellowsError('Conflict', 'it was used meanwhile');
    vm.resting = true;
    this.journal.push(`${vm.id} at rest`);
    vm.lose('put to rest');
    vm.lost = false;
    await vm.close();
    return vm.handle;
  }

  async move(unit: Unit): Promise<{ readonly unit: MockVm } & MoveReport> {
    const vm = this.#of(unit);
    await this.moving;
    if (this.failure !== undefined) throw this.failure;
    this.#lastPid += 1;
    const second = vm.movedTo(this.#lastPid);
    this.vms.set(vm.id, second);
    this.journal.push(`${vm.id} moved`);
    vm.lose('moved');
    await vm.close();
    return { unit: second, pauseMs: 1, copiedBytes: 2 };
  }

  measure(unit: Unit): Omit<UnitMeasure, 'state' | 'tenant'> {
    const { id, pid, provisioned, claimed, resting, carriedPackets } = this.#of(unit);
    const host = { hostPrivateBytes: resting ? 0 : 1, hostGroupBytes: 1, hostStorageBytes: resting ? 2 : 1 };
    const shown = { id, driver: 'vm', mayHibernate: true, carriedPackets, provisioned, claimed };
    return { ...shown, pid: resting ? null : pid, ...host };
  }

  async destroy(unit: Unit): Promise<void> {
    this.vms.delete(unit.handle.id);
    this.journal.push(`${unit.handle.id} destroyed`);
    await unit.close();
  }

  #of(unit: Unit): MockVm {
    return unit as MockVm;
  }
}
