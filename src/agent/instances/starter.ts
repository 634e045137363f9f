// Turns a specification into a running instance: takes an unbound process or starts one, gives it its group, its code and
// its grant, and has it load user code. Owns the order of these steps. On failure nothing is left.
import { existsSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { Clock } from '../../base/clock.ts';
import type { InstanceInfo } from '../../model/instance.ts';
import type { Endpoint, InstanceSpec } from '../../protocol/agent.ts';
import { frameType, type BindRequest, type Proceed } from '../../protocol/instance.ts';
import { runtimes } from '../../runtime/runtimes.ts';
import type { Launch } from '../../runtime/port.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { appStartTimeoutMs, functionStartTimeoutMs } from '../config.ts';
import { GrantBook } from '../grants.ts';
import { groupOfInstance } from '../groups.ts';
import type { LogStore } from '../logs/log-store.ts';
import type { MoveWarmth } from '../move-warmth.ts';
import type { Pool } from '../pool.ts';
import { SandboxNotMade, type Sandbox, type SandboxCommand } from '../sandbox/port.ts';
import type { Slot } from '../slot.ts';
import type { Cell, Cells } from './cells.ts';
import type { Handles } from './handle.ts';
import { Instance, type LendingSide } from './instance.ts';
import type { Answer } from './link.ts';
import { launchPlaces } from './places.ts';
import { freePort, whenServed } from './ports.ts';
import { bindFailure, exitFailure, timeoutFailure } from './start-failure.ts';
import { Surroundings } from './surroundings.ts';

/** What a process says last may reach us after the news of its end. */
const lastAnswerMs = 50;
/** What an app in a frames runtime is told to listen on; nobody does, so that every app can have the same. */
const framesPort = 8080;

export interface StarterOptions {
  readonly cells: Cells;
  readonly pool: Pool;
  readonly warmth: MoveWarmth;
  readonly cgroup: Cgroup;
  readonly sandbox: Sandbox;
  readonly logs: LogStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly runtimeDirectory: string;
  readonly handles: Handles;
  readonly lending: LendingSide;
  readonly onChange: (info: InstanceInfo) => void;
  /** A function's instance that starts listens already. */
  readonly onReachable: (instance: InstanceInfo, endpoint: Endpoint) => void;
}

export class Starter {
  readonly #options: StarterOptions;
  readonly #surroundings: Surroundings;

  constructor(options: StarterOptions) {
    this.#options = options;
    this.#surroundings = new Surroundings(options);
  }

  /**
   * `register` is called as soon as there is something that could be stopped; the promise resolves when it is usable.
   * Whoever registered it also ends it when this throws.
   * @throws StartFailure when user code failed, BellowsError when Bellows did
   */
  async start(spec: InstanceSpec, register: (instance: Instance) => void): Promise<Instance> {
    const { sandbox } = this.#options;
    if (spec.network === 'none' && !sandbox.networkNone) {
      throw new BellowsError(
        'NotSupportedHere',
        'Network "none" needs a sandbox, and there is none here.',
        'Run Bellows as root with bubblewrap installed, or use network "host".',
      );
    }
    if (!existsSync(spec.codeDirectory))
      throw new BellowsError(
        'NotFound',
        `The code of ${spec.workload} is not there: ${spec.codeDirectory}.`,
        'Deploy it again.',
      );
    const startedMs = this.#options.clock.monotonicMs();
    this.#options.warmth.started();
    const launchOn = (port: number, slot: Slot, env: Readonly<Record<string, string>>): Launch => {
      const inside = sandbox.inside(slot, spec.codeDirectory);
      const input = { kind: spec.kind, start: spec.start, env, taskDirectory: inside.task };
      return runtimes[spec.runtime].launch(input, launchPlaces(inside), port);
    };
    // Asked before anything is started: a command that no runtime takes leaves nothing behind.
    const { way } = launchOn(framesPort, this.#options.cells.slot('s-none' as Slot['name']), {});
    const port = way === 'exec' ? await this.#portFor(spec) : framesPort;
    const planFor = launchOn.bind(null, port);
    const timeoutMs = spec.kind === 'function' ? functionStartTimeoutMs : appStartTimeoutMs;
    const deadlineMs = startedMs + timeoutMs;
    const instance =
      way === 'exec'
        ? await this.#exec(spec, port, planFor, register)
        : await this.#bind(spec, planFor, register, deadlineMs);
    await this.#whenUsable(instance, port, deadlineMs);
    instance.becomeReady();
    return instance;
  }

  async #portFor(spec: InstanceSpec): Promise<number> {
    if (spec.network === 'host') return freePort();
    throw new BellowsError(
      'NotSupportedHere',
      'A command that listens on a TCP port could not be reached with network "none", which has only itself.',
      'Use network "host" for it, or start it with "node SCRIPT", whose connections are handed over.',
    );
  }

  async #bind(
    spec: InstanceSpec,
    planFor: (slot: Slot, env: Readonly<Record<string, string>>) => Launch,
    register: (instance: Instance) => void,
    deadlineMs: number,
  ): Promise<Instance> {
    const pooled = this.#options.pool.take(spec.network);
    return pooled === undefined
      ? this.#bindNew(spec, planFor, register, deadlineMs)
      : this.#bindPooled(spec, pooled, planFor, register, deadlineMs);
  }

  /** All is in place while the process still starts: it finds its bind waiting, and loads user code at once. */
  async #bindNew(
    spec: InstanceSpec,
    planFor: (slot: Slot, env: Readonly<Record<string, string>>) => Launch,
    register: (instance: Instance) => void,
    deadlineMs: number,
  ): Promise<Instance> {
    const { pool, cells } = this.#options;
    const group = groupOfInstance(spec.tenant, spec.id);
    const cell = await this.#twice(spec, () =>
      pool.start(group, spec.network, spec.grant.storage, (made) => this.#surroundings.makeGroup(spec, made)),
    );
    const instance = this.#instance(spec, cell, false, { mode: 'frames', port: null });
    register(instance);
    this.#surroundings.furnishBound(instance, group);
    const ready = cells.whenReady(cell);
    const answered = this.#sendBind(instance, planFor, false, deadlineMs);
    this.#tellReachable(instance);
    // Whether it began to read tells whose fault it is when it ends.
    await ready;
    await this.#whenBound(instance, answered, deadlineMs);
    return instance;
  }

  async #bindPooled(
    spec: InstanceSpec,
    cell: Cell,
    planFor: (slot: Slot, env: Readonly<Record<string, string>>) => Launch,
    register: (instance: Instance) => void,
    deadlineMs: number,
  ): Promise<Instance> {
    const { cells, cgroup } = this.#options;
    const group = groupOfInstance(spec.tenant, spec.id);
    const instance = this.#instance(spec, cell, true, { mode: 'frames', port: null });
    register(instance);
    const answered = this.#sendBind(instance, planFor, true, deadlineMs);
    this.#tellReachable(instance);
    // The frame leaves with this turn of the event loop; while the process prepares itself it gets what user code will find.
    await nextTurn();
    await this.#surroundings.makeGroup(spec, group);
    // The kernel takes some 10 ms for the move when it has made none for a while; all but user code goes on meanwhile.
    const mainMoved = Promise.withResolvers<void>();
    const moved = cells.move(cell, group, mainMoved.resolve);
    // Awaited below; what fails before that is thrown first.
    moved.then(mainMoved.resolve, mainMoved.reject);
    mainMoved.promise.catch(() => undefined);
    this.#surroundings.furnishBound(instance, group);
    await mainMoved.promise;
    cgroup.resetPeak(group);
    const proceed: Proceed = { chargedBeforeBytes: cell.chargedBeforeBytes };
    cell.link?.tell(frameType.proceed, JSON.stringify(proceed));
    await this.#whenBound(instance, answered, deadlineMs);
    await moved;
    return instance;
  }

  /** @param gated whether user code waits for `proceed` */
  #sendBind(
    { spec, cell, grants }: Instance,
    planFor: (slot: Slot, env: Readonly<Record<string, string>>) => Launch,
    gated: boolean,
    deadlineMs: number,
  ): Promise<Answer> {
    const apiPort = cell.api?.port ?? null;
    const env = this.#surroundings.environment(
      spec,
      cell.slot,
      apiPort,
      spec.kind === 'app' ? framesPort : null,
    );
    const launch = planFor(cell.slot, env);
    if (launch.way !== 'bind') throw new TypeError(`${spec.runtime} is not bound`);
    const bind: BindRequest = {
      instance: spec.id,
      gated,
      kind: spec.kind,
      ...this.#surroundings.identity(spec),
      handler: spec.handler,
      argv: launch.argv,
      env,
      taskDirectory: this.#options.sandbox.inside(cell.slot, spec.codeDirectory).task,
      timeoutMs: spec.timeoutMs,
      grant: grants.notice,
      function: spec.function,
    };
    const answered =
      cell.link?.request(frameType.bind, JSON.stringify(bind), this.#leftMs(deadlineMs)) ??
      Promise.reject(new Error('no link'));
    // Awaited later; what fails before that is thrown first.
    answered.catch(() => undefined);
    return answered;
  }

  /** What it begins with can be sent while it starts: that saves the round trip after. */
  #tellReachable(instance: Instance): void {
    if (instance.spec.kind === 'function') this.#options.onReachable(instance.info(), instance.endpoint);
  }

  /** @throws StartFailure */
  async #whenBound(instance: Instance, answered: Promise<Answer>, deadlineMs: number): Promise<void> {
    const answer = await this.#unlessItEnds(instance, answered, deadlineMs);
    if (answer.type === frameType.bindFailed) throw bindFailure(answer.payload.toString());
  }

  async #exec(
    spec: InstanceSpec,
    port: number,
    planFor: (slot: Slot, env: Readonly<Record<string, string>>) => Launch,
    register: (instance: Instance) => void,
  ): Promise<Instance> {
    const cell = await this.#twice(spec, () => this.#execCell(spec, planFor));
    const instance = this.#instance(spec, cell, false, { mode: 'tcp', port });
    register(instance);
    cell.api?.serve({ uid: this.#surroundings.ownerUid(spec), grants: instance.grants });
    instance.save();
    return instance;
  }

  async #execCell(
    spec: InstanceSpec,
    planFor: (slot: Slot, env: Readonly<Record<string, string>>) => Launch,
  ): Promise<Cell> {
    const { cells, logs, sandbox } = this.#options;
    const made = cells.make();
    const { slot } = made;
    const env = this.#surroundings.environment(spec, slot, (await made.api)?.port ?? null, null);
    const { plan } = planFor(slot, env) as Extract<Launch, { way: 'exec' }>;
    made.log.sink = logs.sinkOf(spec.workload, spec.id);
    const command: SandboxCommand = {
      argv: [plan.command, ...plan.args],
      env: plan.env,
      workingDirectory: sandbox.inside(slot, spec.codeDirectory).task,
      network: spec.network,
      uid: this.#surroundings.identity(spec).uid,
    };
    const group = groupOfInstance(spec.tenant, spec.id);
    return cells.launch(made, command, group, spec.grant.storage, false, async () => {
      await this.#surroundings.makeGroup(spec, group);
      this.#surroundings.furnishCommand(spec, slot, group);
    });
  }

  /** A sandbox that ends before anybody's code ran in it is no fault of that code: another is made, once. */
  async #twice(spec: InstanceSpec, launch: () => Promise<Cell>): Promise<Cell> {
    try {
      return await launch();
    } catch (thrown) {
      if (!(thrown instanceof SandboxNotMade)) throw thrown;
      this.#options.log.warn({ err: thrown, instance: spec.id }, 'a sandbox could not be made; another is');
      return launch();
    }
  }

  /** A function is usable when it is bound, an app when it listens. */
  async #whenUsable(instance: Instance, port: number, deadlineMs: number): Promise<void> {
    const { spec, cell } = instance;
    if (spec.kind === 'function') return;
    const listening =
      cell.link?.listening(this.#leftMs(deadlineMs)) ??
      whenServed(port, this.#surroundings.ownerUid(spec), this.#leftMs(deadlineMs));
    await this.#unlessItEnds(instance, listening, deadlineMs);
  }

  /** The promise's value; a StartFailure when the process ends first, or the time is over. */
  async #unlessItEnds<T>(instance: Instance, promise: Promise<T>, deadlineMs: number): Promise<T> {
    const { spec, cell } = instance;
    const ended = cell.exited.then((exit): never => {
      throw exitFailure(exit, this.#options.cgroup.usage(cell.group).oomKills > 0);
    });
    const answer = promise.catch(async (thrown: unknown) => {
      if (!(thrown instanceof BellowsError && thrown.code === 'Unavailable')) throw thrown;
      // The link breaks when the process ends, which tells why; otherwise the time passes.
      await sleep(this.#leftMs(deadlineMs), undefined, { ref: false });
      throw timeoutFailure(spec.kind, spec.kind === 'function' ? functionStartTimeoutMs : appStartTimeoutMs);
    });
    // An answer may be on its way when the process has ended: it says more.
    const lateExit = ended.catch(async (thrown: unknown) => {
      await sleep(lastAnswerMs);
      throw thrown;
    });
    return Promise.race([answer, lateExit]);
  }

  #instance(
    spec: InstanceSpec,
    cell: Cell,
    pooled: boolean,
    rest: Pick<Endpoint, 'mode' | 'port'>,
  ): Instance {
    const { cgroup, sandbox, clock, handles, lending, onChange, runtimeDirectory } = this.#options;
    return new Instance({
      spec,
      cell,
      pooled,
      cgroup,
      handles,
      lending,
      onChange,
      runtimeDirectory,
      sandboxName: sandbox.name,
      endpoint: { runDirectory: cell.slot.runDirectory, ...rest },
      grants: new GrantBook(cell.slot.runDirectory, spec.grant, 1),
      startedAtMs: clock.nowMs(),
      grant: spec.grant,
      desired: spec.grant,
    });
  }

  #leftMs(deadlineMs: number): number {
    return Math.max(0, deadlineMs - this.#options.clock.monotonicMs());
  }
}
