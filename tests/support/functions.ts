// Functions as a user of the unmodified AWS SDK creates and calls them. Owns nothing of what tests assert.
import {
  CreateFunctionCommand,
  InvokeCommand,
  type InvokeCommandInput,
  type LambdaClient,
} from '@aws-sdk/client-lambda';
import { zipOf } from './archives.ts';
import type { InstanceAnswer } from './bellows.ts';
import type { UnitsUnderTest } from './units.ts';

const role = 'arn:aws:iam::000000000000:role/any';
/** Of functions that are not to reach it: Lambda's own three seconds are soon over for one that gets no processor. */
const usualTimeoutSeconds = 30;

export interface Invoked {
  readonly status: number | undefined;
  readonly error: string | undefined;
  readonly payload: unknown;
  readonly log: string;
}

export class Functions {
  readonly #units: UnitsUnderTest;
  #sdk: LambdaClient | undefined;

  constructor(units: UnitsUnderTest) {
    this.#units = units;
  }

  get sdk(): LambdaClient {
    this.#sdk ??= this.#units.bellows.lambda();
    return this.#sdk;
  }

  /** @param code of `index.mjs` */
  async create(
    name: string,
    code: string,
    more: Partial<ConstructorParameters<typeof CreateFunctionCommand>[0]> = {},
  ) {
    return this.sdk.send(
      new CreateFunctionCommand({
        FunctionName: name,
        Runtime: 'nodejs26.x',
        Role: role,
        Handler: 'index.handler',
        Timeout: usualTimeoutSeconds,
        Code: { ZipFile: await zipOf({ 'index.mjs': code }) },
        ...more,
      }),
    );
  }

  async invoke(name: string, event: unknown = {}, more: Partial<InvokeCommandInput> = {}): Promise<Invoked> {
    const command = new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event), ...more });
    const answer = await this.sdk.send(command);
    const text = answer.Payload ? new TextDecoder().decode(answer.Payload) : '';
    return {
      status: answer.StatusCode,
      error: answer.FunctionError,
      payload: text === '' ? undefined : JSON.parse(text),
      log: Buffer.from(answer.LogResult ?? '', 'base64').toString(),
    };
  }

  async instancesOf(name: string): Promise<InstanceAnswer[]> {
    return (await this.#units.bellows.instances()).filter((each) => each.workload.endsWith(name));
  }
}
