// Copies bytes between two sockets, both ways. Half-closed stays half-closed; who reads slowly slows the other side down.
import type { Socket } from 'node:net';

/** Copies both ways until both sides have ended; one that breaks breaks the other. */
export function relay(one: Socket, other: Socket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on('error', () => to.destroy());
    from.on('close', () => {
      // An orderly end has been passed on; anything else is a break.
      if (!from.readableEnded || !to.writableEnded) to.destroy();
    });
    from.pipe(to);
  }
}
