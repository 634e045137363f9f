// A running QEMU: its process, its monitor, and how it ends. Owns speaking to the monitor, also again after the connection
// broke, and telling once that the machine is gone and why. What is around a machine (disk, network, group) is not here.
//
//   running ──process gone, guest ended, or told to──▶ gone
import { readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError, messageOf } from '../../../base/errors.ts';
import { isAlive, sendSignal } from '../../../sys/process.ts';
import { QmpClient } from '../qmp/client.ts';
import type { QmpArguments, QmpCommand, QmpResult } from '../qmp/commands.ts';
import type { QmpEvent } from '../qmp/messages.ts';
import { consoleBytes, qemuNames, socketNames } from './arguments.ts';
import type { LaunchedProcesses } from './launch.ts';

/** QEMU's libraries and its firmware are read from disk before its monitor listens. */
const monitorTimeoutMs = 20_000;
/** One that listened, and does not greet any more, hangs. */
const monitorAgainMs = 5_000;
const monitorRetryMs = 5;
/** After the monitor's end the process needs a moment to give its memory back: 1 GiB takes 0.1 s. */
const goneWithinMs = 3_000;
/** Told to quit, QEMU ends within milliseconds; one that hangs is killed. */
const quitMs = 2_000;
const killMs = 10_000;
const shownConsoleBytes = 2_000;
/** QEMU says little of its own; a guest that finds out how to make it say more must not fill the disk. */
const maxLogBytes = 256 * 1024;
const logCheckMs = 60_000;

export interface MachineOptions {
  /** In errors: `unit u-…`. */
  readonly name: string;
  readonly runDirectory: string;
  readonly processes: LaunchedProcesses;
  readonly logFile: string;
  readonly onSerialPort: (open: boolean) => void;
  /** Told once, unless the machine was told to end. */
  readonly onLost: (reason: string) => void;
}

export class Machine {
  readonly #options: MachineOptions;
  #qmp: QmpClient | undefined;
  #logTimer: NodeJS.Timeout | undefined;
  #ending = false;
  #detached = false;
  #lost = false;

  private constructor(options: MachineOptions) {
    this.#options = options;
  }

  /** Connects to the monitor of a process that was just launched, or that another owner left. @throws BellowsError StartFailed */
  static async attach(options: MachineOptions): Promise<Machine> {
    const machine = new Machine(options);
    await machine.#connect(monitorTimeoutMs);
    machine.#logTimer = setInterval(() => cutLog(options.logFile), logCheckMs).unref();
    const { status } = await machine.execute('query-status', {});
    // Its guest ended while nobody looked.
    if (status === 'shutdown' || status === 'guest-panicked') void machine.#guestEnded(status);
    return machine;
  }

  get pid(): number {
    return this.#options.processes.qemu.pid;
  }

  get alive(): boolean {
    return isAlive(this.#options.processes.qemu);
  }

  /** @throws BellowsError Unavailable when QEMU does not answer, Conflict when it refuses. */
  execute<C extends QmpCommand>(name: C, args: QmpArguments<C>, timeoutMs?: number): Promise<QmpResult<C>> {
    const qmp = this.#qmp;
    if (qmp === undefined)
      return Promise.reject(
        new BellowsError('Unavailable', `QEMU of ${this.#options.name} is gone; ${name} was not sent.`),
      );
    return qmp.execute(name, args, timeoutMs);
  }

  /** The last that the guest and QEMU wrote: for why something failed. */
  async lastWords(): Promise<string> {
    const console = await this.execute('ringbuf-read', {
      device: qemuNames.console,
      size: consoleBytes,
    }).catch(() => '');
    return `${readLog(this.#options.logFile)}${console}`.trim().slice(-shownConsoleBytes);
  }

  /** Ends QEMU: asked first, then killed. Returns when the process is gone, and the kernel has its memory. */
  async end(): Promise<void> {
    this.#ending = true;
    clearInterval(this.#logTimer);
    const { qemu, monitor } = this.#options.processes;
    const quit = await this.execute('quit', {}, quitMs).then(
      () => true,
      () => false,
    );
    if (!quit || !(await gone(() => this.alive, quitMs))) sendSignal(qemu, 'SIGKILL');
    const anyLeft = (): boolean => this.alive || (monitor !== null && isAlive(monitor));
    const isGone = await gone(anyLeft, killMs);
    this.#qmp?.close();
    this.#qmp = undefined;
    if (!isGone)
      throw new BellowsError('Unavailable', `QEMU of ${this.#options.name} (${qemu.pid}) does not end.`);
  }

  /** Leaves the process to another owner. */
  detach(): void {
    this.#detached = true;
    clearInterval(this.#logTimer);
    this.#qmp?.close();
    this.#qmp = undefined;
  }

  async #connect(timeoutMs: number): Promise<void> {
    const path = join(this.#options.runDirectory, socketNames.monitor);
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      let connected = false;
      try {
        this.#qmp = await QmpClient.connect(path, {
          name: `QEMU of ${this.#options.name}`,
          greetingMs: timeoutMs,
          onEvent: (event) => this.#heed(event),
          onClose: () => {
            if (connected) void this.#closed();
          },
        });
        connected = true;
        return;
      } catch (thrown) {
        if (!this.alive) throw this.#startFailed('it ended at once', thrown);
        if (performance.now() > deadlineMs) throw this.#startFailed('its monitor does not answer', thrown);
      }
      await sleep(monitorRetryMs);
    }
  }

  #startFailed(why: string, cause: unknown): BellowsError {
    const words = readLog(this.#options.logFile);
    return new BellowsError(
      /Cannot allocate memory|cannot set up guest memory/i.test(words) ? 'NoRoom' : 'StartFailed',
      `QEMU of ${this.#options.name} could not be used: ${why}${words === '' ? '' : `: ${words}`}.`,
      'Run `bellows doctor`.',
      { cause },
    );
  }

  #heed(event: QmpEvent): void {
    switch (event.event) {
      case 'VSERPORT_CHANGE':
        if (event.data.id === qemuNames.agentPort) this.#options.onSerialPort(event.data.open);
        return;
      case 'SHUTDOWN':
        void this.#guestEnded(event.data.reason);
        return;
      case 'GUEST_PANICKED':
        void this.#guestEnded('guest-panicked');
    }
  }

  async #guestEnded(reason: string): Promise<void> {
    if (this.#ending || this.#lost) return;
    const words = await this.lastWords();
    this.#lose(`the guest ended (${reason})${words === '' ? '' : `; its last words: ${words.slice(-500)}`}`);
  }

  async #closed(): Promise<void> {
    this.#qmp = undefined;
    if (this.#ending || this.#detached) return;
    if (await gone(() => this.alive, goneWithinMs)) {
      const words = readLog(this.#options.logFile);
      this.#lose(`QEMU (${this.pid}) ended${words === '' ? '' : `: ${words.slice(-500)}`}`);
      return;
    }
    // It lives, and its monitor does not: once more, and then it is not a machine that anything can be done with.
    try {
      await this.#connect(monitorAgainMs);
    } catch (thrown) {
      this.#lose(messageOf(thrown));
    }
  }

  #lose(reason: string): void {
    if (this.#lost || this.#ending || this.#detached) return;
    this.#lost = true;
    this.#options.onLost(reason);
  }
}

async function gone(alive: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  for (let pauseMs = 1; alive(); pauseMs = Math.min(pauseMs * 2, 20)) {
    if (performance.now() > deadlineMs) return false;
    await sleep(pauseMs);
  }
  return true;
}

/** QEMU appends, so that it goes on at the new end. */
function cutLog(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > maxLogBytes) truncateSync(path);
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim().slice(-shownConsoleBytes);
  } catch {
    return '';
  }
}
