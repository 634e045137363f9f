// What a test of the Cgroup contract works with: processes that hold memory when told to, and are cleared up after it.
import { spawn, type ChildProcess } from 'node:child_process';
import type { Cgroup, GroupPath } from '../port.ts';

/** Holds as many MiB as the last line of its input says, and tells when it does; `ticks` counts 10 ms of being alive. */
const program = `
  let held = []; let ticks = 0;
  setInterval(() => { ticks += 1; }, 10);
  process.stdin.on('data', (data) => {
    const command = data.toString().trim();
    if (command === 'ticks') return void console.log(ticks);
    while (held.length > Number(command)) held.pop();
    if (held.length < Number(command)) while (held.length < Number(command)) held.push(Buffer.alloc(1048576, 1));
    globalThis.gc();
    console.log('holds ' + held.length);
  });
  console.log('ready');
`;

/** What a test is given, and what is cleared up after it. */
export interface Scene {
  readonly cgroup: Cgroup;
  readonly processes: ChildProcess[];
  /** A holder in a group. */
  readonly start: (group: GroupPath) => Promise<Holder>;
  readonly startOutside: () => Promise<Holder>;
}

export async function inScene(cgroup: Cgroup, body: (scene: Scene) => Promise<void>): Promise<void> {
  const processes: ChildProcess[] = [];
  const startOutside = async (): Promise<Holder> => {
    const child = spawn(process.execPath, ['--expose-gc', '-e', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    processes.push(child);
    const holder = new Holder(child);
    await holder.line();
    return holder;
  };
  const start = async (group: GroupPath): Promise<Holder> => {
    const holder = await startOutside();
    cgroup.attach(group, holder.pid);
    return holder;
  };
  try {
    await body({ cgroup, processes, start, startOutside });
  } finally {
    await cgroup.kill([]);
    await cgroup.remove([]);
    for (const child of processes) child.kill('SIGKILL');
  }
}

/** A process that answers each line with a line. */
export class Holder {
  readonly child: ChildProcess;
  #buffered = '';
  #waiting: { readonly take: (line: string) => void; readonly fail: (error: Error) => void } | undefined;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', (data: Buffer) => {
      this.#buffered += data.toString();
      this.#deliver();
    });
    child.on('exit', (code, signal) => this.#waiting?.fail(new Error(`it ended by ${signal ?? code}`)));
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the process did not start');
    return this.child.pid;
  }

  ask(line: string): Promise<string> {
    this.child.stdin?.write(`${line}\n`);
    return this.line();
  }

  line(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = { take: resolve, fail: reject };
      this.#deliver();
    });
  }

  #deliver(): void {
    const end = this.#buffered.indexOf('\n');
    if (end < 0 || this.#waiting === undefined) return;
    const line = this.#buffered.slice(0, end);
    this.#buffered = this.#buffered.slice(end + 1);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting.take(line);
  }
}
