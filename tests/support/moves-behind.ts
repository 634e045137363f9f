// What may happen behind connections that stay: limits that change at random, new code, no instance at all, a controller that is
// killed, a gateway that is upgraded. Owns doing these, to one app and one function of two tenants. Does not own connections.
import { type Bellows, eventually } from './bellows.ts';
import { archiveOf } from './apps.ts';
import { tarGzOf } from './archives.ts';
import { randomFrom } from './random.ts';

/** A function's instance is ended after so long without a call: Bellows is to be started with this. */
export const idleSeconds = 1;

/** What became of changes of limits, by their answers' status. */
export type ChangeCounts = Record<'applied' | 'deferred' | 'infeasible', number>;

const held = { tenant: 'held', name: 'chat' } as const;
const direct = { tenant: 'direct', name: 'echo' } as const;
const appMemoryMib = 512;

/** An answer says which version of the code gave it. */
const handlerOf = (version: string): string => `
export const handler = async ({ requestContext, body }) =>
  requestContext.routeKey === '$connect' ? { statusCode: 200 } : { statusCode: 200, body: body + ' ${version}' };`;

const manifest = JSON.stringify({
  kind: 'function',
  handler: 'index.handler',
  memory: '128MiB',
  // Longer than anything keeps an instance from a processor: what one has begun is not sent again.
  timeout: 60,
  websocket: { routes: ['$connect', '$default'], idleTimeout: null },
});

interface Changeable {
  readonly path: string;
  readonly method: 'PUT' | 'PATCH';
  readonly memoryMib: readonly [number, number];
  readonly milliCpus: readonly [number, number];
}

/**
 * What is changed, and within which bounds: with the least of them all goes on, only with less to spare. No tenant's limit is
 * below what one of its instances may ask for, a processor by default: that would be refused, and nothing changed.
 */
const changeable: readonly Changeable[] = [
  {
    method: 'PATCH',
    path: `/workloads/${held.tenant}/${held.name}`,
    memoryMib: [96, 256],
    milliCpus: [500, 1_000],
  },
  {
    method: 'PATCH',
    path: `/workloads/${direct.tenant}/${direct.name}`,
    memoryMib: [384, 768],
    milliCpus: [500, 1_000],
  },
  {
    method: 'PUT',
    path: `/tenants/${held.tenant}/limits`,
    memoryMib: [1_024, 4_096],
    milliCpus: [1_000, 2_000],
  },
  {
    method: 'PUT',
    path: `/tenants/${direct.tenant}/limits`,
    memoryMib: [768, 1_536],
    milliCpus: [1_000, 2_000],
  },
];

/** A controller that was killed is back sooner. */
const backWithinMs = 30_000;
const againAfterMs = 100;
/** The status of an answer of /v1 that a change can not be made. */
const infeasible = 422;

export class MovesBehind {
  readonly limitChanges: ChangeCounts = { applied: 0, deferred: 0, infeasible: 0 };
  readonly #bellows: Bellows;
  readonly #random: () => number;
  #versions = 0;

  /** @param seed of the limits that are chosen */
  constructor(bellows: Bellows, seed: number) {
    this.#bellows = bellows;
    this.#random = randomFrom(seed);
  }

  readonly heldPath = `/w/${held.tenant}/${held.name}/`;
  readonly directPath = `/w/${direct.tenant}/${direct.name}/`;

  /** The app that echoes is in this directory, with `ws`. */
  async deployBoth(appDirectory: string): Promise<void> {
    await this.deployHeldAlone();
    await this.#ask('PUT', `/tenants/${direct.tenant}`, {});
    const archive = await archiveOf(appDirectory, ['ws'], { memory: `${appMemoryMib}MiB` });
    await this.#ask('PUT', `/workloads/${direct.tenant}/${direct.name}`, archive);
    await eventually(async () => (await this.instancesOf('direct')).length === 1, { timeoutMs: 60_000 });
  }

  async deployHeldAlone(): Promise<void> {
    await this.#ask('PUT', `/tenants/${held.tenant}`, {});
    await this.deployHeld();
  }

  /** New code for the function. @returns its version, which is in its answers */
  async deployHeld(): Promise<string> {
    this.#versions += 1;
    const version = `v${this.#versions}`;
    const archive = await tarGzOf({ 'index.mjs': handlerOf(version), 'bellows.json': manifest });
    await this.#ask('PUT', `/workloads/${held.tenant}/${held.name}`, archive);
    return version;
  }

  /** Of a workload or a tenant, memory or processor time. */
  async changeALimit(): Promise<void> {
    const { method, path, memoryMib, milliCpus } = this.#oneOf(changeable);
    const change =
      this.#random() < 0.5
        ? { memory: `${this.#within(memoryMib)}MiB` }
        : { cpu: `${this.#within(milliCpus)}m` };
    const { status } = await this.#ask<{ readonly status: keyof ChangeCounts }>(method, path, change, true);
    this.limitChanges[status] += 1;
  }

  async instancesOf(
    tenant: 'held' | 'direct',
  ): Promise<readonly { readonly id: string; readonly pid: number }[]> {
    return (await this.#bellows.instances()).filter((instance) => instance.tenant === tenant);
  }

  /** Once the function's clients are silent. */
  async untilNoneOfHeld(): Promise<void> {
    await eventually(async () => (await this.instancesOf('held')).length === 0, {
      timeoutMs: 60_000,
      what: () => 'the idle function to have no instance',
    });
  }

  async killController(): Promise<void> {
    const killed = this.#bellows.pidOf('controller');
    if (killed === undefined) throw new Error('there is no controller');
    process.kill(killed, 'SIGKILL');
    await eventually(
      async () => {
        const now = this.#bellows.pidOf('controller');
        return now !== undefined && now !== killed && (await this.instancesOf('direct')).length === 1;
      },
      { timeoutMs: backWithinMs, what: () => 'another controller' },
    );
  }

  /** Another process has taken over once this resolves; the one before goes on with what it carries. */
  async upgradeGateway(): Promise<void> {
    const { code, stdout, stderr } = await this.#bellows.cli('upgrade', '--json');
    if (code !== 0) throw new Error(`bellows upgrade: ${stdout}${stderr}`);
    const { pid, before } = JSON.parse(stdout) as { readonly pid: number; readonly before: number | null };
    if (pid === before) throw new Error(`the gateway is ${pid} as before`);
  }

  #oneOf<T>(all: readonly T[]): T {
    return all[Math.floor(this.#random() * all.length)]!;
  }

  #within([least, most]: readonly [number, number]): number {
    return Math.round(least + this.#random() * (most - least));
  }

  /** Again while the controller is away, which may have broken off what it was asked. */
  async #ask<T>(method: string, path: string, body: unknown, mayBeInfeasible = false): Promise<T> {
    const endMs = performance.now() + backWithinMs;
    for (;;) {
      const answer = await this.#bellows.v1<T>(method, path, body).catch((thrown: unknown) => {
        if (performance.now() > endMs) throw thrown;
      });
      // A change of a limit that is infeasible was understood, too.
      const understood =
        answer !== undefined && (answer.status < 300 || (mayBeInfeasible && answer.status === infeasible));
      if (understood) return answer.body;
      if (answer !== undefined && (answer.status < 500 || performance.now() > endMs))
        throw new Error(`${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
      await new Promise((resolve) => setTimeout(resolve, againAfterMs));
    }
  }
}
