// A cell: one slot with what runs in it and everything the agent holds of it. A pooled process has its cell long before
// it is an instance. Owns making and ending cells, completely: processes, groups, mounts, files, sockets.
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { NetworkMode } from '../../model/workload.ts';
import { frameType, instanceSockets } from '../../protocol/instance.ts';
import type { LaunchPlaces, LaunchPlan } from '../../runtime/port.ts';
import { listenPrivatelyAt } from '../../sys/listening-socket.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import { runtimeStartTimeoutMs } from '../config.ts';
import { LogPipe, type LineSink } from '../logs/log-pipe.ts';
import { RuntimeApi } from '../runtime-api.ts';
import {
  anyAlive,
  type Launched,
  type ProcessExit,
  type Sandbox,
  type SandboxCommand,
  type SandboxProcesses,
} from '../sandbox/port.ts';
import { makeSlot, newSlotName, removeSlot, slotAt, type Slot, type SlotName } from '../slot.ts';
import { InstanceLink } from './link.ts';
import { baseEnvironment, launchPlaces } from './places.ts';
import { endOf, look } from './watch.ts';

/** A killed process is gone when its memory is given back; longer than this and the kernel itself is stuck. */
const endTimeoutMs = 10_000;
/** Giving back a GiB takes some 100 ms. */
const orderlyEndMs = 2000;
/** What a runtime says last may reach us after the news of its end. */
const lastAnswerMs = 50;

export interface Cell {
  readonly slot: Slot;
  readonly network: NetworkMode;
  readonly processes: SandboxProcesses;
  /** When the main process ended. */
  readonly exited: Promise<ProcessExit>;
  /** Null for programs that speak no frames. */
  readonly link: InstanceLink | null;
  readonly log: LogPipe;
  readonly api: RuntimeApi | null;
  /** Where its processes are: the pool's, then the instance's. */
  group: GroupPath;
  storageBytes: number;
  /**
   * Memory that it was charged before it moved to an instance's group. The kernel leaves that charge where it was until the
   * process ends, so the instance's own group shows so much less than is used.
   */
  chargedBeforeBytes: number;
  /** Told of the connections that the runtime inside counts. */
  onConnections: (counts: ConnectionCounts) => void;
}

export interface CommandCell {
  readonly slot: Slot;
  /** Never rejects. A process that is told of it later can be started meanwhile. */
  readonly api: Promise<RuntimeApi | null>;
  readonly log: LogPipe;
}

/** Makes the group that a program is to start in, and what else is to be there before it runs. */
export type Furnish = (group: GroupPath) => Promise<void>;

/** Resolves when a program that was held back is to start, with the group that it is to start in. */
export type Hold = () => Promise<GroupPath>;

export interface CellsOptions {
  readonly slotsDirectory: string;
  readonly sandbox: Sandbox;
  readonly cgroup: Cgroup;
  readonly log: Logger;
}

export class Cells {
  readonly #options: CellsOptions;

  constructor(options: CellsOptions) {
    this.#options = options;
  }

  get sandbox(): Sandbox {
    return this.#options.sandbox;
  }

  slot(name: SlotName): Slot {
    return slotAt(this.#options.slotsDirectory, name);
  }

  /** A place for a process, with its log already open. */
  make(): CommandCell {
    const slot = this.slot(newSlotName());
    try {
      makeSlot(slot);
      return {
        slot,
        api: RuntimeApi.listen(0),
        log: new LogPipe(slot.logFifo, this.#unboundSink(slot.name)),
      };
    } catch (thrown) {
      removeSlot(slot);
      throw thrown;
    }
  }

  /**
   * Starts a runtime's unbound process in `group`. It can be sent to at once, and reads that when it runs: {@link whenReady}.
   * @throws BellowsError
   */
  async startRuntime(
    plan: (places: LaunchPlaces) => LaunchPlan,
    group: (slot: SlotName) => GroupPath,
    network: NetworkMode,
    storageBytes: number,
    furnish: Furnish,
    hold?: Hold,
  ): Promise<Cell> {
    const made = this.make();
    const inside = this.#options.sandbox.inside(made.slot, '/');
    const { command, args, env } = plan(launchPlaces(inside));
    const runtime: SandboxCommand = {
      argv: [command, ...args],
      env: { ...baseEnvironment(inside), ...env },
      workingDirectory: inside.temporary,
      network,
      uid: null,
    };
    return this.launch(made, runtime, group(made.slot.name), storageBytes, true, furnish, hold);
  }

  /** Resolves when the runtime inside answers. @throws BellowsError StartFailed when it ends first, Unavailable */
  async whenReady(cell: Cell): Promise<void> {
    const ended = cell.exited.then(async (): Promise<never> => {
      await sleep(lastAnswerMs);
      throw new BellowsError('StartFailed', 'The runtime ended before it was ready.');
    });
    await Promise.race([cell.link?.request(frameType.ping, '', runtimeStartTimeoutMs), ended]);
  }

  /**
   * Starts a program in a made place. `furnish` makes the group, and puts there what the program finds. With `hold` it starts
   * when that resolves, in the group that it gives. On failure nothing of the place is left. @throws BellowsError StartFailed
   */
  async launch(
    made: CommandCell,
    command: SandboxCommand,
    firstGroup: GroupPath,
    storageBytes: number,
    speaksFrames: boolean,
    furnish: Furnish,
    hold?: Hold,
  ): Promise<Cell> {
    const { sandbox, cgroup } = this.#options;
    let group = firstGroup;
    let launched: Launched;
    let socket: number | null = null;
    try {
      socket = speaksFrames ? listenPrivatelyAt(socketOf(made.slot)) : null;
      launched = await sandbox.launch({
        slot: made.slot,
        command,
        storageBytes,
        socket,
        furnish: () => furnish(group),
        admit: (pid) => cgroup.move(group, [pid]),
        ...(hold === undefined
          ? {}
          : {
              hold: async (pids) => {
                group = await hold();
                await cgroup.move(group, pids);
                this.#letGo(firstGroup);
              },
            }),
      });
    } catch (thrown) {
      made.log.start();
      await this.#clear(made, group);
      if (group !== firstGroup) this.#letGo(firstGroup);
      throw thrown;
    } finally {
      if (socket !== null) closeSync(socket);
    }
    made.log.start();
    return this.#cell({ ...made, api: await made.api }, launched.processes, launched.exited, {
      network: command.network,
      group,
      storageBytes,
      speaksFrames,
    });
  }

  /** Takes over what an earlier agent started. */
  async adopt(
    slot: Slot,
    processes: SandboxProcesses,
    runtimeApiPort: number | null,
    rest: {
      readonly network: NetworkMode;
      readonly group: GroupPath;
      readonly storageBytes: number;
      readonly chargedBeforeBytes?: number;
      readonly speaksFrames: boolean;
    },
  ): Promise<Cell> {
    const log = new LogPipe(slot.logFifo, this.#unboundSink(slot.name));
    log.start();
    const api = runtimeApiPort === null ? null : await RuntimeApi.listen(runtimeApiPort);
    if (api === null && runtimeApiPort !== null) {
      this.#options.log.warn(
        { slot: slot.name, port: runtimeApiPort },
        'the port of a Runtime API is taken; the grant file still says the same',
      );
    }
    const exited = endOf(processes.main).then((): ProcessExit => ({ code: null, signal: null }));
    return this.#cell({ slot, api, log }, processes, exited, rest);
  }

  /** Moves all processes of a cell into another group, and removes the one they were in. */
  async move(cell: Cell, group: GroupPath, onMainMoved: () => void): Promise<void> {
    const { cgroup } = this.#options;
    const from = cell.group;
    cell.group = group;
    const main = cell.processes.main.pid;
    await cgroup.move(group, [main]);
    cell.chargedBeforeBytes = cgroup.usage(from).memoryBytes;
    onMainMoved();
    // The sandbox's own two do nothing: user code need not wait for them.
    await cgroup.move(
      group,
      cgroup.processes(from).filter((pid) => pid !== main),
    );
    this.#letGo(from);
  }

  /** Nobody waits for this: the kernel takes its time to let a group go. */
  #letGo(group: GroupPath): void {
    this.#options.cgroup
      .remove(group)
      .catch((error: unknown) => this.#options.log.warn({ err: error }, 'a pool group is left'));
  }

  /** Ends everything of a cell. Resolves when nothing is left, its last lines are read, and its group is gone. */
  async end(cell: Cell): Promise<void> {
    const { sandbox, cgroup } = this.#options;
    sandbox.kill(cell.processes);
    // On cgroup v1 a frozen process dies when it is thawed, and one that waits for memory may need a page for it.
    cgroup.holdOutOfMemory(cell.group, false);
    await cgroup.thaw(cell.group);
    // The monitor outside ends by itself and takes the news: killed, it would leave a zombie to the machine's init.
    if (!(await hasEnded(cell.processes, orderlyEndMs))) await cgroup.kill(cell.group);
    if (!(await hasEnded(cell.processes, endTimeoutMs))) {
      throw new BellowsError(
        'Unavailable',
        `Processes of ${cell.slot.name} did not end within ${endTimeoutMs} ms of SIGKILL.`,
      );
    }
    // What left the process group of a process without a sandbox.
    await cgroup.kill(cell.group);
    look();
    // Our own child was waited for when this resolves: not even its number is left.
    await cell.exited;
    cell.link?.close();
    await this.#clear(cell, cell.group);
  }

  /** Removes what is left of a slot that nothing runs in. */
  clearSlot(name: SlotName): void {
    const slot = this.slot(name);
    this.#options.sandbox.clear(slot);
    removeSlot(slot);
  }

  #cell(
    made: Pick<Cell, 'slot' | 'api' | 'log'>,
    processes: SandboxProcesses,
    exited: Promise<ProcessExit>,
    rest: {
      readonly network: NetworkMode;
      readonly group: GroupPath;
      readonly storageBytes: number;
      readonly chargedBeforeBytes?: number;
      readonly speaksFrames: boolean;
    },
  ): Cell {
    const link = rest.speaksFrames
      ? new InstanceLink(socketOf(made.slot), { onConnections: (counts) => cell.onConnections(counts) })
      : null;
    const cell: Cell = {
      ...made,
      processes,
      exited,
      link,
      network: rest.network,
      group: rest.group,
      storageBytes: rest.storageBytes,
      chargedBeforeBytes: rest.chargedBeforeBytes ?? 0,
      onConnections: () => {},
    };
    return cell;
  }

  async #clear(
    made: Pick<Cell, 'slot' | 'log'> & { readonly api: Cell['api'] | CommandCell['api'] },
    group: GroupPath,
  ): Promise<void> {
    await made.log.drain();
    (await made.api)?.close();
    this.#options.sandbox.clear(made.slot);
    removeSlot(made.slot);
    await this.#options.cgroup.remove(group);
  }

  #unboundSink(slot: SlotName): LineSink {
    return (lines) => {
      for (const line of lines)
        this.#options.log.warn({ slot, line: line.slice(0, 1000) }, 'a process without a workload printed');
    };
  }
}

async function hasEnded(processes: SandboxProcesses, timeoutMs: number): Promise<boolean> {
  const untilMs = performance.now() + timeoutMs;
  while (anyAlive(processes)) {
    if (performance.now() > untilMs) return false;
    await sleep(1);
  }
  return true;
}

function socketOf(slot: Slot): string {
  return join(slot.runDirectory, instanceSockets.frames);
}
