// A serial port of a virtual machine's host, as a character device: read when the kernel signals, written as it takes.
// Owns the descriptor, waiting for the port to appear, and bytes that the host has not taken. Not what they mean.
//
// Node wraps no such device: a stream over it would hold one of four I/O threads for ever, and wait for it at the exit.
// The kernel sends SIGIO for a port whenever data came, and when the host's end opens or closes; so nothing polls.
// While the host's end is closed a read returns 0 at once, and what is written the host's side throws away.
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { libc, SystemError } from '../../sys/libc.ts';

const F_GETFL = 3;
const F_SETFL = 4;
const F_SETOWN = 8;
/** Of <asm-generic/fcntl.h>, the same on x86_64 and aarch64. */
const O_ASYNC = 0o20000;

const readBytes = 64 * 1024;
/** So many reads, then what else there is to do gets its turn. */
const readsAtOnce = 16;
/** The port's queue is full: there is no signal for its getting room. */
const writeRetryMs = { first: 1, longest: 20 } as const;
/** The device appears when its driver has been loaded, or the machine is a clone that is just being put together. */
const openRetryMs = 200;

export interface SerialPortHandlers {
  readonly onData: (chunk: Buffer) => void;
  /** The host's end is closed; it may come back. Told at every signal in that state. */
  readonly onHostGone: () => void;
  /** The port can not be used any more. */
  readonly onError: (error: Error) => void;
}

interface Unwritten {
  readonly bytes: Buffer;
  readonly done: () => void;
}

export class SerialPort {
  readonly #path: string;
  readonly #handlers: SerialPortHandlers;
  readonly #buffer = Buffer.allocUnsafe(readBytes);
  #fd: number | undefined;
  #openTimer: NodeJS.Timeout | undefined;
  #unwritten: Unwritten[] = [];
  #writeTimer: NodeJS.Timeout | undefined;
  #pauseMs: number = writeRetryMs.first;
  #closed = false;

  constructor(path: string, handlers: SerialPortHandlers) {
    this.#path = path;
    this.#handlers = handlers;
    process.on('SIGIO', this.#pump);
    this.#open();
  }

  /** `done` is called once the kernel has the bytes, or they were given up. */
  write(bytes: Buffer, done: () => void): void {
    this.#unwritten.push({ bytes, done });
    if (this.#writeTimer === undefined) this.#flush();
  }

  /** Gives up what was not written yet. */
  discard(): void {
    for (const { done } of this.#unwritten.splice(0)) done();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off('SIGIO', this.#pump);
    clearTimeout(this.#openTimer);
    clearTimeout(this.#writeTimer);
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.discard();
  }

  #open(): void {
    let fd: number;
    try {
      fd = openSync(this.#path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY);
    } catch (error) {
      // EBUSY: one at a time may open it, and an earlier agent is just ending.
      if (!hasCode(error, 'ENOENT', 'ENODEV', 'ENXIO', 'EBUSY')) throw error;
      this.#openTimer = setTimeout(() => this.#open(), openRetryMs);
      return;
    }
    this.#fd = fd;
    signalTo(fd, process.pid);
    // What came before there was anybody to signal to.
    setImmediate(this.#pump);
    this.#flush();
  }

  readonly #pump = (): void => {
    for (let reads = 0; reads < readsAtOnce; reads += 1) {
      if (this.#fd === undefined) return;
      let bytes: number;
      try {
        bytes = readSync(this.#fd, this.#buffer, 0, readBytes, null);
      } catch (error) {
        if (!hasCode(error, 'EAGAIN')) this.#fail(error);
        return;
      }
      if (bytes === 0) return this.#handlers.onHostGone();
      // A copy: handlers keep views into it.
      this.#handlers.onData(Buffer.from(this.#buffer.subarray(0, bytes)));
    }
    setImmediate(this.#pump);
  };

  #flush(): void {
    for (;;) {
      const next = this.#unwritten[0];
      if (next === undefined || this.#fd === undefined) return;
      let bytes: number;
      try {
        bytes = writeSync(this.#fd, next.bytes);
      } catch (error) {
        if (!hasCode(error, 'EAGAIN')) return this.#fail(error);
        bytes = 0;
      }
      if (bytes === 0) return this.#flushLater();
      this.#pauseMs = writeRetryMs.first;
      if (bytes < next.bytes.length) {
        this.#unwritten[0] = { bytes: next.bytes.subarray(bytes), done: next.done };
      } else {
        this.#unwritten.shift();
        next.done();
      }
    }
  }

  #flushLater(): void {
    this.#writeTimer = setTimeout(() => {
      this.#writeTimer = undefined;
      this.#flush();
    }, this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, writeRetryMs.longest);
  }

  #fail(error: unknown): void {
    this.close();
    this.#handlers.onError(error instanceof Error ? error : new Error(String(error)));
  }
}

function signalTo(fd: number, pid: number): void {
  const { call, errno } = libc();
  if (call.fcntl(fd, F_SETOWN, pid) !== 0) throw new SystemError('fcntl', errno(), 'F_SETOWN');
  const flags = call.fcntl(fd, F_GETFL, 0);
  if (flags < 0) throw new SystemError('fcntl', errno(), 'F_GETFL');
  if (call.fcntl(fd, F_SETFL, flags | O_ASYNC) !== 0) throw new SystemError('fcntl', errno(), 'F_SETFL');
}

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
  );
}
