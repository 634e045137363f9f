// A process of clients as the bench that started it sees it. Owns the process and what is asked of it.
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Account, Command, Moment, Reply } from './protocol.ts';
import type { Target } from './websocket.ts';

const program = fileURLToPath(new URL('./client.ts', import.meta.url));
/** What a process has open beside its clients' connections, and more than the gateway and an instance have. */
const otherFiles = 500;

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

export class ClientProcess {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;

  constructor() {
    this.#process = fork(program, {
      // A session of its own, which the kernel may weigh instead of the process: see ./client.ts.
      detached: true,
      execArgv: ['--disable-warning=ExperimentalWarning'],
      // Samples are arrays of numbers, which JSON would take long for.
      serialization: 'advanced',
    });
    this.#process.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('error' in reply) waiting?.reject(new Error(reply.error));
      else waiting?.resolve(reply);
    });
    this.#process.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`the process of clients ended: ${signal ?? code}`));
      this.#waiting.clear();
    });
  }

  /** @returns how long it took until all of them were open, in ms */
  open(target: Target, count: number): Promise<number> {
    return this.#timed({ do: 'open', target, count });
  }

  /** From now on, so many messages a second of all clients together. */
  async speak(perSecond: number): Promise<void> {
    await this.#timed({ do: 'speak', perSecond });
  }

  async during(moment: Moment): Promise<void> {
    await this.#timed({ do: 'during', moment });
  }

  /** Until nothing is waited for any more; what is not there in time is counted as lost. */
  async settle(withinMs: number): Promise<void> {
    await this.#timed({ do: 'settle', withinMs });
  }

  /** @returns how long the answer to one message of this client took, in ms */
  ask(client: number): Promise<number> {
    return this.#timed({ do: 'ask', client });
  }

  /** One message of each. @returns how long it took until all had their answers, in ms; those that have none by then count as lost */
  askAll(withinMs: number): Promise<number> {
    return this.#timed({ do: 'askAll', withinMs });
  }

  async account(): Promise<Account> {
    const reply = await this.#request({ do: 'account' });
    if (!('account' in reply)) throw new Error('no account was given');
    return reply.account;
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }

  async #timed(command: Command): Promise<number> {
    const reply = await this.#request(command);
    return 'tookMs' in reply ? reply.tookMs : NaN;
  }

  #request(command: Command): Promise<Reply> {
    this.#asked += 1;
    const id = this.#asked;
    return new Promise((resolve, reject) => {
      if (!this.#process.connected) throw new Error('the process of clients is gone');
      this.#waiting.set(id, { resolve, reject });
      this.#process.send({ id, ...command });
    });
  }
}

/**
 * Of each kind one process of clients, the gateway and an instance have so many files open, and Node raises its limit to the hard one.
 * @throws Error when that is too few
 */
export function checkOpenFiles(connections: number): void {
  const hard = /^Max open files +\S+ +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  const most = hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
  if (connections + otherFiles > most)
    throw new Error(
      `${connections} connections need ${connections + otherFiles} open files in one process, and the hard limit is ${hard}: raise it (ulimit -Hn), or set CONNECTIONS to fewer.`,
    );
}
