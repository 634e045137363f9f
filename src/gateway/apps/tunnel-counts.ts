// How many tunnels lead to one instance, and who ended those that did. Owns the counts, and telling of them soon after a change.
import type { ConnectionCounts } from '../../model/instance.ts';

/** As the runtime inside tells of the connections that were handed to it: at most one message in this time. */
const tellEveryMs = 50;

export class TunnelCounts {
  #open = 0;
  #closedByClient = 0;
  #closedByServer = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #tell: (counts: ConnectionCounts) => void;

  constructor(tell: (counts: ConnectionCounts) => void) {
    this.#tell = tell;
  }

  get open(): number {
    return this.#open;
  }

  opened(): void {
    this.#open += 1;
    this.tellSoon();
  }

  closed(by: 'client' | 'server'): void {
    this.#open -= 1;
    if (by === 'client') this.#closedByClient += 1;
    else this.#closedByServer += 1;
    this.tellSoon();
  }

  tellSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#tell({
        open: this.#open,
        closedByClient: this.#closedByClient,
        closedByServer: this.#closedByServer,
      });
    }, tellEveryMs).unref();
  }

  /** The instance is gone: nobody is told any more. */
  close(): void {
    clearTimeout(this.#timer);
  }
}
