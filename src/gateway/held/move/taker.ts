// Takes held connections over from a gateway that another one replaces (door.ts). Owns the link to it, and that each connection is
// begun with only after the word that it was taken is out: whoever dies, one of both processes has it, and not both. What becomes
// of it is the caller's.
import { closeSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import { receiveFd, socketFd } from '../../../sys/fd-passing.ts';
import { firstLine, word, type Place } from './door.ts';
import { atOnce } from './giver.ts';
import { readSnapshot, type Snapshot } from './snapshot.ts';

export interface TakerHandlers {
  /** @returns what begins with it; undefined when it can not be had */
  readonly take: (snapshot: Snapshot, client: Socket, from: number) => (() => void) | undefined;
  readonly onDefect: (error: unknown) => void;
}

/** Half of what is under way: while these are begun with, the other process sends more. */
const perRound = atOnce / 2;

/** Errors of one hand-over, after which the next can still be taken. */
const lostOne: ReadonlySet<string> = new Set(['EBADMSG', 'EMFILE']);

export class Taker {
  readonly #pid: number;
  readonly #handlers: TakerHandlers;
  readonly #words: Socket;
  /** Never read by Node, so it is paused before it is connected. */
  readonly #descriptors: Socket;
  #scheduled = false;

  /** @param pid of the process that has them @param place in which this one serves */
  constructor(pid: number, path: string, place: Place, handlers: TakerHandlers) {
    this.#pid = pid;
    this.#handlers = handlers;
    this.#words = connect(path);
    this.#descriptors = connect(path).pause();
    this.#words.write(firstLine('words', process.pid, place));
    this.#descriptors.write(firstLine('descriptors', process.pid, place));
    this.#words.on('data', this.#announced);
    // One that has ended, or is of a version that gives none, has nothing to take.
    this.#words.on('error', () => undefined);
    this.#descriptors.on('error', () => undefined);
    this.#words.once('close', () => {
      // What was sent before it died is here.
      this.#takeUpTo(Infinity);
      this.close();
    });
  }

  /** Takes what was sent by now: more than are under way at once it can not be. */
  sweep(): void {
    this.#takeUpTo(atOnce);
  }

  /** @returns whether there may be more */
  #takeUpTo(most: number): boolean {
    if (this.#descriptors.destroyed || this.#descriptors.connecting) return false;
    const answers: number[] = [];
    const begins: (() => void)[] = [];
    let mayBeMore = true;
    while (mayBeMore && answers.length < most) {
      try {
        const received = receiveFd(socketFd(this.#descriptors));
        if (received === 'again' || received === 'closed') {
          mayBeMore = false;
          break;
        }
        const begin = this.#take(received.fd, received.bytes);
        answers.push(begin === undefined ? word.notTaken : word.taken);
        if (begin !== undefined) begins.push(begin);
      } catch (error) {
        this.#handlers.onDefect(error);
        answers.push(word.notTaken);
        mayBeMore = lostOne.has((error as NodeJS.ErrnoException).code ?? '');
      }
    }
    // Each answer by itself would wake the other process, which costs as much as all the rest.
    if (answers.length > 0) this.#answer(answers);
    for (const begin of begins) begin();
    return mayBeMore;
  }

  /** What it has not said that it has goes back. */
  close(): void {
    this.#words.destroy();
    this.#descriptors.destroy();
  }

  readonly #announced = (): void => {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // In the next round of the event loop, and so again: what came of clients meanwhile is served before.
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#takeUpTo(perRound)) this.#announced();
    });
  };

  /** @returns what begins with it; undefined when it was not taken */
  #take(fd: number, payload: Buffer): (() => void) | undefined {
    let client: Socket | undefined;
    let begin: (() => void) | undefined;
    try {
      const snapshot = readSnapshot(payload);
      client = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
      begin = this.#handlers.take(snapshot, client, this.#pid);
    } catch (error) {
      this.#handlers.onDefect(error);
    }
    if (begin !== undefined) return begin;
    if (client === undefined) closeSync(fd);
    else client.destroy();
    return undefined;
  }

  /** Bytes are written at once: into a socket of this machine that has room for many thousands of them. */
  #answer(words: readonly number[]): void {
    if (!this.#words.destroyed) this.#words.write(Buffer.from(words));
  }
}
