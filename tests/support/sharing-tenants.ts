// Customers on one Bellows, each with an app that WebSocket clients are connected to and mostly a function that works now and
// then. Owns how they are set up and asked; nothing of what tests assert.
import { CreateFunctionCommand, InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { zipOf } from './archives.ts';
import { deployStatefulApp } from './apps.ts';
import type { Bellows, Credentials, InstanceAnswer } from './bellows.ts';

/** Holds as much as it is told, every page of it touched, and works for as long as it is told. */
const holder = `
  let held = [];
  export const handler = async ({ holdMib, forMs }) => {
    if (holdMib !== undefined) {
      held = held.slice(0, Math.ceil(holdMib / 8));
      for (let mib = held.length * 8; mib < holdMib; mib += 8) held.push(Buffer.alloc(8 * 1024 * 1024, 1));
    }
    if (forMs !== undefined) await new Promise((resolve) => setTimeout(resolve, forMs));
    return { heldMib: held.length * 8 };
  };`;

export interface Work {
  /** What it holds from now on; what it holds already when this is absent. */
  readonly holdMib?: number;
  /** How long it takes over it. */
  readonly forMs?: number;
}

export type Worked = { readonly heldMib: number } | { readonly error: string };

export interface Sizes {
  readonly app: string;
  /** None: it has no function. */
  readonly functionMib?: number;
  readonly timeoutSeconds: number;
}

export class SharingTenant {
  readonly name: string;
  readonly #bellows: Bellows;
  readonly #lambda: LambdaClient;

  private constructor(name: string, bellows: Bellows, lambda: LambdaClient) {
    this.name = name;
    this.#bellows = bellows;
    this.#lambda = lambda;
  }

  static async settle(
    bellows: Bellows,
    name: string,
    { app, functionMib, timeoutSeconds }: Sizes,
  ): Promise<SharingTenant> {
    const { body: credentials } = await bellows.v1<Credentials>('PUT', `/tenants/${name}`, {});
    const lambda = bellows.lambda('default', {
      credentials,
      requestHandler: { requestTimeout: (timeoutSeconds + 30) * 1000 },
    });
    await deployStatefulApp(bellows, name, 'app', { memory: app });
    if (functionMib !== undefined)
      await lambda.send(
        new CreateFunctionCommand({
          FunctionName: 'worker',
          Runtime: 'nodejs26.x',
          Role: 'arn:aws:iam::000000000000:role/any',
          Handler: 'index.handler',
          MemorySize: functionMib,
          Timeout: timeoutSeconds,
          Code: { ZipFile: await zipOf({ 'index.mjs': holder }) },
        }),
      );
    return new SharingTenant(name, bellows, lambda);
  }

  /** Calls the function. */
  async work(work: Work = {}): Promise<Worked> {
    const command = new InvokeCommand({ FunctionName: 'worker', Payload: JSON.stringify(work) });
    try {
      const answer = await this.#lambda.send(command);
      const text = new TextDecoder().decode(answer.Payload);
      return answer.FunctionError === undefined
        ? (JSON.parse(text) as { heldMib: number })
        : { error: `${answer.FunctionError}: ${text}` };
    } catch (refused) {
      return { error: String(refused) };
    }
  }

  async app(): Promise<InstanceAnswer> {
    return this.#instance('app');
  }

  async worker(): Promise<InstanceAnswer> {
    return this.#instance('worker');
  }

  get socketUrl(): string {
    return `ws://127.0.0.1:${this.#bellows.port}/w/${this.name}/app/`;
  }

  appUrl(path: string): string {
    return `${this.#bellows.url}/w/${this.name}/app${path}`;
  }

  async #instance(workload: 'app' | 'worker'): Promise<InstanceAnswer> {
    const found = (await this.#bellows.instances()).filter(
      (each) => each.tenant === this.name && each.workload.split(/[/:]/).includes(workload),
    );
    if (found.length !== 1)
      throw new Error(`${found.length} instances run of ${workload} of ${this.name}, not one`);
    return found[0]!;
  }
}
