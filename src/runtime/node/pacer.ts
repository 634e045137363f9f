// Divides what an app may send in a second among its direct connections, in the kernel, and anew as they come and go or the
// grant changes. Owns the division; the gateway has set each connection's first pace. What requests through the gateway
// send is paced there.
import type { Socket } from 'node:net';
import { connectionShare } from '../../base/bandwidth-share.ts';
import { socketFd } from '../../sys/fd-passing.ts';
import { setPacing } from '../../sys/pacing.ts';
import { startTimer } from './primordials.ts';

/** Many connections come and go at once: a division is a system call for each that is open. */
const divideAfterMs = 50;

export class Pacer {
  readonly #sockets = new Set<Socket>();
  #bytesPerSecond: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  add(socket: Socket): void {
    this.#sockets.add(socket);
    this.#divideSoon();
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#divideSoon();
    });
  }

  /** Holds when this returns. */
  setBandwidth(bytesPerSecond: number): void {
    if (bytesPerSecond === this.#bytesPerSecond) return;
    this.#bytesPerSecond = bytesPerSecond;
    this.#divide();
  }

  #divideSoon(): void {
    this.#timer ??= startTimer(() => {
      this.#timer = undefined;
      this.#divide();
    }, divideAfterMs).unref();
  }

  #divide(): void {
    const share = connectionShare(this.#bytesPerSecond, this.#sockets.size);
    for (const socket of this.#sockets) {
      try {
        setPacing(socketFd(socket), share);
      } catch {
        // It is being closed: nothing is sent over it any more.
      }
    }
  }
}
