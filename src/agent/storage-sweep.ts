// Gives the machine back what instances have deleted: file systems in images keep the blocks until they are trimmed. Owns
// when that is done; whether it is worth it is the sandbox's to say.
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../sys/log.ts';
import type { Instance } from './instances/instance.ts';
import type { Sandbox } from './sandbox/port.ts';

/** A look costs some 20 µs for each instance; the disk waits longer for nothing. */
const sweepEveryMs = 5000;

export class StorageSweep {
  readonly #sandbox: Sandbox;
  readonly #log: Logger;
  readonly #instances: () => readonly Instance[];
  readonly #below: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: {
    readonly sandbox: Sandbox;
    readonly log: Logger;
    readonly instances: () => readonly Instance[];
    /** Trims what the images lie on, where that is another's disk in turn. */
    readonly below?: () => Promise<void>;
  }) {
    this.#sandbox = options.sandbox;
    this.#log = options.log;
    this.#instances = options.instances;
    this.#below = options.below ?? (() => Promise.resolve());
  }

  open(): void {
    if (this.#sandbox.storage.on === 'disk') this.#sweepLater();
  }

  /** One instance, now. */
  async trim(instance: Pick<Instance, 'id' | 'cell'>): Promise<void> {
    await this.#trimImage(instance);
    await this.#trimBelow();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #sweepLater(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#sweep().finally(() => this.#sweepLater());
    }, sweepEveryMs).unref();
  }

  /** One after the other: it is the disk that is waited for. */
  async #sweep(): Promise<void> {
    for (const instance of this.#instances()) if (!this.#closed) await this.#trimImage(instance);
    if (!this.#closed) await this.#trimBelow();
  }

  async #trimImage({ id, cell }: Pick<Instance, 'id' | 'cell'>): Promise<void> {
    await this.#sandbox
      .trimStorage(cell.slot)
      .catch((error: unknown) =>
        this.#log.debug({ instance: id, error: messageOf(error) }, 'a scratch space could not be trimmed'),
      );
  }

  async #trimBelow(): Promise<void> {
    await this.#below().catch((error: unknown) =>
      this.#log.debug({ error: messageOf(error) }, 'the disk below scratch spaces could not be trimmed'),
    );
  }
}
