// Who watches which keys of a store within this process, and the queue between a write and each of its watchers.
// Owns order, bounds and ends of watches. Does not own storage: a store calls `publish` after a write is durable.
//
//   watch() ─▶ open ──signal, close, return──▶ ended     (what is queued is dropped)
//               │
//               └──more than `maxQueuedEvents` behind──▶ overrun: next() fails once, then ended
import { BellowsError } from '../base/errors.ts';
import type { StoreEvent } from './port.ts';

/** A watcher this far behind does not keep up at all: at 1 KiB an event it holds some 10 MiB. */
const maxQueuedEvents = 10_000;

const ended: IteratorResult<StoreEvent> = { done: true, value: undefined };

class Watch implements AsyncIterableIterator<StoreEvent> {
  readonly prefix: string;
  readonly #onEnd: (watch: Watch) => void;
  #queue: StoreEvent[] = [];
  #pending: ((result: IteratorResult<StoreEvent>) => void)[] = [];
  #state: 'open' | 'overrun' | 'ended' = 'open';

  constructor(prefix: string, onEnd: (watch: Watch) => void) {
    this.prefix = prefix;
    this.#onEnd = onEnd;
  }

  push(event: StoreEvent): void {
    const waiting = this.#pending.shift();
    if (waiting !== undefined) {
      waiting({ done: false, value: event });
    } else if (this.#queue.length < maxQueuedEvents) {
      this.#queue.push(event);
    } else {
      this.end();
      this.#state = 'overrun';
    }
  }

  end(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#queue = [];
    for (const waiting of this.#pending.splice(0)) waiting(ended);
    this.#onEnd(this);
  }

  next(): Promise<IteratorResult<StoreEvent>> {
    if (this.#state === 'overrun') {
      this.#state = 'ended';
      const message = `A watch of ${JSON.stringify(this.prefix)} fell ${maxQueuedEvents} changes behind and was ended.`;
      return Promise.reject(
        new BellowsError('Unavailable', message, 'List the keys again, then watch anew.'),
      );
    }
    if (this.#state === 'ended') return Promise.resolve(ended);
    const event = this.#queue.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    return new Promise((resolve) => this.#pending.push(resolve));
  }

  return(): Promise<IteratorResult<StoreEvent>> {
    this.end();
    return Promise.resolve(ended);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

export class Watchers {
  readonly #watches = new Set<Watch>();

  /** Begins at once, not at the first `next()`: what is written after this call is seen. */
  add(prefix: string, signal: AbortSignal): AsyncIterable<StoreEvent> {
    const onAbort = (): void => watch.end();
    const watch = new Watch(prefix, () => {
      this.#watches.delete(watch);
      signal.removeEventListener('abort', onAbort);
    });
    this.#watches.add(watch);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) watch.end();
    return watch;
  }

  /** Tells every watcher of the key, in the order of calls. Never waits for one and never fails because of one. */
  publish(event: StoreEvent): void {
    const key = event.type === 'put' ? event.entry.key : event.key;
    for (const watch of this.#watches) if (key.startsWith(watch.prefix)) watch.push(event);
  }

  close(): void {
    for (const watch of this.#watches) watch.end();
  }
}
