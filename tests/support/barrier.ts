// What code under test waits at, so that the test decides how long it is busy, and no clock: on a busy machine a second may be
// over before all that should have come meanwhile is there. Reached by HTTP, from instances on this host's network.
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export class Barrier {
  readonly #server: Server;
  readonly #waiting = new Set<ServerResponse>();
  #isOpen = false;

  private constructor() {
    this.#server = createServer((_request, response) => {
      if (this.#isOpen) response.end();
      else this.#waiting.add(response);
    });
  }

  /** Closed, and there until the test is over. */
  static async raise(): Promise<Barrier> {
    const barrier = new Barrier();
    barrier.#server.listen(0, '127.0.0.1');
    await once(barrier.#server, 'listening');
    onTestFinished(() => {
      barrier.open();
      barrier.#server.close();
      barrier.#server.closeAllConnections();
    });
    return barrier;
  }

  /** Whoever asks for this is answered once it is open. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  /** All that wait go on, and nobody waits any more. */
  open(): void {
    this.#isOpen = true;
    for (const response of this.#waiting) response.end();
    this.#waiting.clear();
  }
}
