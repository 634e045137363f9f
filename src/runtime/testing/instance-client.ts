// Drives a runtime over its sockets as the agent and the gateway do, for tests. Owns the process, its directory and
// the links it opens. Does not own what is asserted.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, FrameDecoder } from '../../base/frame.ts';
import {
  decodeResult,
  frameType,
  invokePrefixBytes,
  writeInvokePrefix,
  type BindRequest,
  type GrantNotice,
  type InvocationError,
  type StreamPrelude,
  instanceSockets,
} from '../../protocol/instance.ts';
import { listenPrivatelyAt } from '../../sys/listening-socket.ts';
import type { LaunchPlan } from '../port.ts';

const mib = 1024 * 1024;

/** A received frame, its payload copied. */
export interface ReceivedFrame {
  readonly type: number;
  readonly id: number;
  readonly payload: Buffer;
}

export interface Answer {
  readonly outcome: number;
  readonly durationMicros: number;
  readonly peakKib: number;
  readonly logTail: string;
  readonly text: string;
  readonly prelude: StreamPrelude | undefined;
  readonly chunks: readonly string[];
  json(): unknown;
}

export interface InvokeOptions {
  readonly timeoutMs?: number;
  readonly memoryMb?: number;
  readonly flags?: number;
  readonly extra?: string;
  readonly requestId?: string;
}

let requests = 0;
export function newRequestId(): string {
  requests += 1;
  return `00000000-0000-4000-8000-${String(requests).padStart(12, '0')}`;
}

/** One link to an instance's frame socket. */
export class FrameClient {
  readonly socket: Socket;
  readonly frames: ReceivedFrame[] = [];
  closed = false;
  #lastId = 0;
  #watchers: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    const decoder = new FrameDecoder(({ type, id, payload }) => {
      this.frames.push({ type, id, payload: Buffer.from(payload) });
      this.#wake();
    });
    this.socket.on('data', (chunk: Buffer) => decoder.push(chunk));
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  send(type: number, payload: string | Uint8Array = ''): number {
    this.#lastId += 1;
    this.socket.write(encodeFrame(type, this.#lastId, payload));
    return this.#lastId;
  }

  /** The first frame that matches, now or later. Rejects when the link closes first. */
  async frame(matches: (frame: ReceivedFrame) => boolean): Promise<ReceivedFrame> {
    for (;;) {
      const found = this.frames.find(matches);
      if (found !== undefined) return found;
      if (this.closed) throw new Error('the instance closed the link');
      await new Promise<void>((wake) => this.#watchers.push(wake));
    }
  }

  sendInvoke(event: unknown, options: InvokeOptions = {}): number {
    const body = Buffer.from(event === undefined ? '' : JSON.stringify(event));
    const extra = options.extra ?? '';
    const payload = Buffer.alloc(invokePrefixBytes(extra) + body.length);
    const at = writeInvokePrefix(payload, 0, {
      timeoutMs: options.timeoutMs ?? 3000,
      memoryMb: options.memoryMb ?? 128,
      flags: options.flags ?? 0,
      requestId: options.requestId ?? newRequestId(),
      extra,
    });
    body.copy(payload, at);
    return this.send(frameType.invoke, payload);
  }

  async answerTo(id: number): Promise<Answer> {
    const last = await this.frame(
      (frame) => frame.id === id && (frame.type === frameType.result || frame.type === frameType.streamEnd),
    );
    const result = decodeResult(last.payload);
    const mine = this.frames.filter((frame) => frame.id === id);
    const start = mine.find((frame) => frame.type === frameType.streamStart);
    const text = result.body.toString();
    return {
      outcome: result.outcome,
      durationMicros: result.durationMicros,
      peakKib: result.peakKib,
      logTail: result.logTail.toString(),
      text,
      prelude: start === undefined ? undefined : (JSON.parse(start.payload.toString()) as StreamPrelude),
      chunks: mine
        .filter((frame) => frame.type === frameType.streamChunk)
        .map((frame) => frame.payload.toString()),
      json: () => JSON.parse(text) as unknown,
    };
  }

  invoke(event: unknown, options?: InvokeOptions): Promise<Answer> {
    return this.answerTo(this.sendInvoke(event, options));
  }

  #wake(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const wake of watchers) wake();
  }
}

function connected(path: string): Promise<Socket | undefined> {
  return new Promise((done) => {
    const socket = connect(path, () => done(socket));
    socket.once('error', () => done(undefined));
  });
}

export function grantOf(
  memoryMib: number,
  generation = 1,
  phase: GrantNotice['phase'] = 'current',
): GrantNotice {
  return {
    generation,
    phase,
    memory: `${memoryMib}MiB`,
    cpu: '1',
    storage: '512MiB',
    bandwidth: '125MB/s',
    memoryBytes: memoryMib * mib,
    cpuMillicores: 1000,
    storageBytes: 512 * mib,
    bandwidthBytesPerSecond: 125_000_000,
  };
}

export type BindOutcome =
  { readonly is: 'bound' } | { readonly is: 'failed'; readonly error: InvocationError };

/** A runtime as an ordinary process, without a sandbox, in a directory of its own. */
export class TestInstance {
  readonly runDirectory: string;
  readonly taskDirectory: string;
  readonly process: ChildProcess;
  /** Standard output and error, in one. */
  output = '';
  exitCode: number | null | undefined;
  readonly #root: string;
  #clients: FrameClient[] = [];

  constructor(plan: (runDirectory: string) => LaunchPlan, files: Readonly<Record<string, string>> = {}) {
    this.#root = mkdtempSync(join(tmpdir(), 'bellows-runtime-'));
    this.runDirectory = join(this.#root, 'run');
    this.taskDirectory = join(this.#root, 'task');
    mkdirSync(this.runDirectory);
    mkdirSync(this.taskDirectory);
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.taskDirectory, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    const { command, args, env } = plan(this.runDirectory);
    const socket = listenPrivatelyAt(join(this.runDirectory, instanceSockets.frames));
    this.process = spawn(command, args, { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe', socket] });
    closeSync(socket);
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    }
    this.process.on('exit', (code) => (this.exitCode = code));
  }

  async client(): Promise<FrameClient> {
    const socket = await connected(join(this.runDirectory, instanceSockets.frames));
    if (socket === undefined) throw new Error(`the runtime ended: ${this.output}`);
    const client = new FrameClient(socket);
    this.#clients.push(client);
    return client;
  }

  async bind(client: FrameClient, request: Partial<BindRequest>): Promise<BindOutcome> {
    const full: BindRequest = {
      instance: 'i-test',
      kind: 'function',
      uid: 0,
      gid: 0,
      handler: 'index.handler',
      argv: [],
      env: { PATH: process.env['PATH'] ?? '', LAMBDA_TASK_ROOT: this.taskDirectory },
      taskDirectory: this.taskDirectory,
      timeoutMs: 3000,
      grant: grantOf(128),
      function: {
        name: 'test',
        version: '$LATEST',
        arn: 'arn:aws:lambda:us-east-1:000000000000:function:test',
        memoryMb: 128,
        logGroup: '/aws/lambda/test',
        logStream: '2026/01/01/[$LATEST]0123',
      },
      ...request,
    };
    const id = client.send(frameType.bind, JSON.stringify(full));
    const answer = await client.frame(
      (frame) => frame.id === id && (frame.type === frameType.bound || frame.type === frameType.bindFailed),
    );
    if (answer.type === frameType.bound) return { is: 'bound' };
    return { is: 'failed', error: JSON.parse(answer.payload.toString()) as InvocationError };
  }

  async exited(): Promise<number | null> {
    while (this.exitCode === undefined) await sleep(5);
    return this.exitCode;
  }

  /** Ends the process if it still runs, and removes everything. */
  async dispose(): Promise<void> {
    for (const client of this.#clients) client.socket.destroy();
    if (this.exitCode === undefined) {
      this.process.kill('SIGKILL');
      await this.exited();
    }
    rmSync(this.#root, { recursive: true, force: true });
  }
}
