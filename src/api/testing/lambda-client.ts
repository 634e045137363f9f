// The AWS SDK's client at an API under test, and a function created with it. Tests only.
import {
  CreateFunctionCommand,
  LambdaClient,
  type CreateFunctionCommandInput,
  type CreateFunctionCommandOutput,
} from '@aws-sdk/client-lambda';
import type { ApiUnderTest } from './api-under-test.ts';

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
