// One function in a process of the Node runtime, for tests: made, bound, asked, and ended with the test.
import { expect } from 'vitest';
import { TestInstance, type BindOutcome, type FrameClient } from '../../testing/instance-client.ts';
import { plan } from './plan.ts';

export class FunctionUnderTest {
  #instance: TestInstance | undefined;
  #client: FrameClient | undefined;

  /** The one that runs. */
  get instance(): TestInstance {
    if (this.#instance === undefined) throw new Error('No instance has been made.');
    return this.#instance;
  }

  /** Its gateway's end. */
  get client(): FrameClient {
    if (this.#client === undefined) throw new Error('Nobody has connected.');
    return this.#client;
  }

  /** Takes one over, to be ended with the test. */
  use(instance: TestInstance): TestInstance {
    this.#instance = instance;
    return instance;
  }

  async connect(): Promise<FrameClient> {
    this.#client = await this.instance.client();
    return this.#client;
  }

  async bind(
    files: Readonly<Record<string, string>>,
    handler = 'index.handler',
    more: Parameters<TestInstance['bind']>[1] = {},
  ): Promise<BindOutcome> {
    const instance = this.use(new TestInstance(plan, files));
    return instance.bind(await this.connect(), { handler, ...more });
  }

  async bound(...of: Parameters<FunctionUnderTest['bind']>): Promise<TestInstance> {
    expect(await this.bind(...of)).toEqual({ is: 'bound' });
    return this.instance;
  }

  /** What it answers; an error fails the test. */
  async valueOf(event: unknown, options?: Parameters<FrameClient['invoke']>[1]): Promise<unknown> {
    const answer = await this.client.invoke(event, options);
    expect(answer.text, answer.text).not.toContain('errorType');
    return answer.json();
  }

  async dispose(): Promise<void> {
    await this.#instance?.dispose();
    this.#instance = undefined;
    this.#client = undefined;
  }
}
