// The instances of one app and the requests that wait for one: least connections first, in turn among equals.
import type { InstanceId } from '../../base/ids.ts';
import type { WorkloadRoute } from '../../protocol/routes.ts';
import type { AppInstance } from './app-instance.ts';

interface Waiter {
  readonly take: (instance: AppInstance | undefined) => void;
}

const none: ReadonlySet<InstanceId> = new Set();

export class AppPool {
  route: WorkloadRoute;
  /** How long a client waits for one that takes it. */
  readonly waitMs: number;
  /** The one that was taken last stands last, so that equals take turns. */
  readonly #instances = new Map<InstanceId, AppInstance>();
  readonly #waiters = new Set<Waiter>();
  readonly #retired = new Map<InstanceId, (() => void)[]>();

  constructor(route: WorkloadRoute, waitMs: number) {
    this.route = route;
    this.waitMs = waitMs;
  }

  get instances(): Iterable<AppInstance> {
    return this.#instances.values();
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  get connections(): number {
    let sum = 0;
    for (const instance of this.#instances.values()) sum += instance.connections;
    return sum;
  }

  get openRequests(): number {
    let sum = 0;
    for (const instance of this.#instances.values()) sum += instance.openRequests;
    return sum;
  }

  setRoute(route: WorkloadRoute): void {
    this.route = route;
    this.#wake();
  }

  add(instance: AppInstance): void {
    this.#instances.set(instance.id, instance);
    this.#wake();
  }

  remove(id: InstanceId): void {
    this.#instances.get(id)?.close();
    this.#instances.delete(id);
    this.#settle(id);
  }

  close(): void {
    for (const id of this.#instances.keys()) this.remove(id);
    for (const waiter of this.#waiters) waiter.take(undefined);
  }

  /** The one with the fewest clients, of the present generation. @param except ones that were found not to answer */
  pick(except: ReadonlySet<InstanceId>): AppInstance | undefined {
    let least: AppInstance | undefined;
    for (const instance of this.#instances.values()) {
      if (instance.retiring || except.has(instance.id) || instance.generation !== this.route.generation)
        continue;
      if (least === undefined || instance.load < least.load) least = instance;
    }
    return least;
  }

  /** The same for one client, waiting up to `waitMs` for one to come; undefined when none came. */
  take(except: ReadonlySet<InstanceId>, waitMs: number): Promise<AppInstance | undefined> | AppInstance {
    const instance = this.#next(except);
    if (instance !== undefined) return instance;
    return new Promise((resolve) => {
      const waiter: Waiter = {
        take: (found) => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve(found);
        },
      };
      const timer = setTimeout(() => waiter.take(undefined), waitMs);
      this.#waiters.add(waiter);
    });
  }

  /** Sends it nothing more; resolves when no request goes through the gateway to it. Handed-over connections are its own. */
  retire(id: InstanceId): Promise<void> {
    const instance = this.#instances.get(id);
    if (instance === undefined) return Promise.resolve();
    instance.retiring = true;
    if (instance.openRequests === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const waiting = this.#retired.get(id);
      if (waiting === undefined) this.#retired.set(id, [resolve]);
      else waiting.push(resolve);
    });
  }

  /** A request to it ended. */
  requestEnded(instance: AppInstance): void {
    instance.openRequests -= 1;
    if (instance.openRequests === 0) this.#settle(instance.id);
  }

  #next(except: ReadonlySet<InstanceId>): AppInstance | undefined {
    const instance = this.pick(except);
    if (instance === undefined) return undefined;
    this.#instances.delete(instance.id);
    this.#instances.set(instance.id, instance);
    return instance;
  }

  #settle(id: InstanceId): void {
    for (const resolve of this.#retired.get(id) ?? []) resolve();
    this.#retired.delete(id);
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      const instance = this.#next(none);
      if (instance === undefined) return;
      waiter.take(instance);
    }
  }
}
