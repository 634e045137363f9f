// The AWS SDK's client at an API under test, and functions created with it. Tests only.
import {
  CreateFunctionCommand,
  LambdaClient,
  type CreateFunctionCommandInput,
  type CreateFunctionCommandOutput,
} from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { startApi, type ApiUnderTest } from './api-under-test.ts';
import { zipOf } from './archives.ts';

export function clientFor(
  api: Pick<ApiUnderTest, 'url'>,
  accessKeyId: string,
  secretAccessKey: string,
  region = 'us-east-1',
): LambdaClient {
  return new LambdaClient({
    endpoint: api.url,
    region,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
  });
}

/** Of what AWS demands, all but the code is filled in. */
export function createFunction(
  lambda: LambdaClient,
  name: string,
  more: Pick<CreateFunctionCommandInput, 'Code'> & Partial<CreateFunctionCommandInput>,
): Promise<CreateFunctionCommandOutput> {
  return lambda.send(
    new CreateFunctionCommand({
      FunctionName: name,
      Runtime: 'nodejs26.x',
      Handler: 'index.handler',
      Role: 'arn:aws:iam::123456789012:role/lambda',
      ...more,
    }),
  );
}

/** What the tests of a file call by the SDK: an API of their own, without functions at the beginning of each. */
export class LambdaUnderTest {
  api!: ApiUnderTest;
  /** The tenant's `acme`. */
  sdk!: LambdaClient;
  /** Code that can be run. */
  zip!: Buffer;

  constructor() {
    beforeAll(async () => {
      this.api = await startApi();
      this.sdk = clientFor(this.api, 'AKIAACME', 'secret of acme');
      this.zip = await zipOf({ 'index.js': 'exports.handler = async () => 1' });
    });
    afterAll(async () => {
      this.sdk.destroy();
      await this.api[Symbol.asyncDispose]();
    });
    beforeEach(() => this.api.control.workloads.clear());
  }

  create(name: string, more: Partial<CreateFunctionCommandInput> = {}): Promise<CreateFunctionCommandOutput> {
    return createFunction(this.sdk, name, { Code: { ZipFile: this.zip }, ...more });
  }
}
