// What the AWS SDK is refused, in AWS's words. What it can not be made to send is in bad-input.test.ts.
import {
  CreateFunctionUrlConfigCommand,
  GetFunctionCommand,
  ListFunctionsCommand,
  ListTagsCommand,
  PutFunctionConcurrencyCommand,
} from '@aws-sdk/client-lambda';
import { describe, expect, test } from 'vitest';
import type { TenantId, WorkloadName } from '../../base/ids.ts';
import { clientFor, LambdaUnderTest } from '../testing/lambda-client.ts';
import { rawZip } from '../testing/archives.ts';

const lambda = new LambdaUnderTest();

interface Refusal {
  readonly what: string;
  readonly call: () => Promise<unknown>;
  readonly name: string;
  readonly message: RegExp;
}

const refusals: Refusal[] = [
  {
    what: 'MemorySize 64',
    call: () => lambda.create('x', { MemorySize: 64 }),
    name: 'ValidationException',
    message:
      /^1 validation error detected: Value '64' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128$/,
  },
  {
    what: 'MemorySize 10241',
    call: () => lambda.create('x', { MemorySize: 10_241 }),
    name: 'ValidationException',
    message: /'10241' at 'memorySize' .* less than or equal to 10240$/,
  },
  {
    what: 'Timeout 0 and MemorySize 1',
    call: () => lambda.create('x', { Timeout: 0, MemorySize: 1 }),
    name: 'ValidationException',
    message: /^2 validation errors detected: .*'timeout'.*; .*'memorySize'/,
  },
  {
    what: 'Timeout 901',
    call: () => lambda.create('x', { Timeout: 901 }),
    name: 'ValidationException',
    message: /'901' at 'timeout' .* less than or equal to 900/,
  },
  {
    what: 'a long description',
    call: () => lambda.create('x', { Description: 'd'.repeat(257) }),
    name: 'ValidationException',
    message: /'description' .* Member must have length less than or equal to 256/,
  },
  {
    what: 'a handler with a space',
    call: () => lambda.create('x', { Handler: 'a b' }),
    name: 'ValidationException',
    message: /'handler' .* regular expression pattern: \[\^\\s\]\+/,
  },
  {
    what: 'a role that is no ARN',
    call: () => lambda.create('x', { Role: 'me' }),
    name: 'ValidationException',
    message: /Value 'me' at 'role' .* regular expression pattern: arn:/,
  },
  {
    what: 'no role',
    call: () => lambda.create('x', { Role: undefined as unknown as string }),
    name: 'ValidationException',
    message: /Value null at 'role' .* Member must not be null/,
  },
  {
    what: 'a name with spaces',
    call: () => lambda.create('a b'),
    name: 'ValidationException',
    message: /'a b' at 'functionName'/,
  },
  {
    what: 'an unknown runtime',
    call: () => lambda.create('x', { Runtime: 'python3.13' }),
    name: 'InvalidParameterValueException',
    message: /python3\.13 at 'runtime' .* \[nodejs20\.x, .*nodejs26\.x\]/,
  },
  {
    what: 'no runtime',
    call: () => lambda.create('x', { Runtime: undefined }),
    name: 'InvalidParameterValueException',
    message: /Runtime is mandatory/,
  },
  {
    what: 'no handler',
    call: () => lambda.create('x', { Handler: undefined }),
    name: 'InvalidParameterValueException',
    message: /Handler is mandatory/,
  },
  {
    what: 'an image',
    call: () => lambda.create('x', { PackageType: 'Image', Code: { ImageUri: 'a' } }),
    name: 'InvalidParameterValueException',
    message: /images are not supported/,
  },
  {
    what: 'code in S3',
    call: () => lambda.create('x', { Code: { S3Bucket: 'bucket', S3Key: 'k' } }),
    name: 'InvalidParameterValueException',
    message: /no S3/,
  },
  {
    what: 'no code',
    call: () => lambda.create('x', { Code: {} }),
    name: 'InvalidParameterValueException',
    message: /Please provide a source/,
  },
  {
    what: 'layers',
    call: () => lambda.create('x', { Layers: ['arn:aws:lambda:us-east-1:1:layer:a:1'] }),
    name: 'InvalidParameterValueException',
    message: /Layers is not supported/,
  },
  {
    what: 'Publish',
    call: () => lambda.create('x', { Publish: true }),
    name: 'InvalidParameterValueException',
    message: /Publish .* no versions but \$LATEST/,
  },
  {
    what: 'a reserved variable',
    call: () => lambda.create('x', { Environment: { Variables: { AWS_REGION: 'x' } } }),
    name: 'InvalidParameterValueException',
    message: /reserved keys .* AWS_REGION$/,
  },
  {
    what: 'a variable with a dash',
    call: () => lambda.create('x', { Environment: { Variables: { 'A-B': 'x' } } }),
    name: 'ValidationException',
    message: /environment\.variables.* Map keys must satisfy constraint: \[Member must satisfy regular/,
  },
  {
    what: 'an environment over 4 KB',
    call: () => lambda.create('x', { Environment: { Variables: { BIG: 'x'.repeat(4_100) } } }),
    name: 'InvalidParameterValueException',
    message: /exceeded the 4KB limit/,
  },
  {
    what: 'text as a zip',
    call: () => lambda.create('x', { Code: { ZipFile: Buffer.from('hello') } }),
    name: 'InvalidParameterValueException',
    message: /^Could not unzip uploaded file\./,
  },
  {
    what: 'an empty zip',
    call: () => lambda.create('x', { Code: { ZipFile: rawZip([]) } }),
    name: 'InvalidParameterValueException',
    message: /^Uploaded file must be a non-empty zip$/,
  },
  {
    what: 'a lambda.zip that leads out',
    call: () => lambda.create('x', { Code: { ZipFile: rawZip([{ name: '../x', content: 'x' }]) } }),
    name: 'InvalidParameterValueException',
    message: /^Could not unzip .* leads out of the archive/,
  },
  {
    what: 'a lambda.zip bomb',
    call: () =>
      lambda.create('x', { Code: { ZipFile: rawZip([{ name: 'x', content: 'x', saysSize: 3e9 }]) } }),
    name: 'InvalidParameterValueException',
    message: /^Unzipped size must be smaller than 262144000 bytes/,
  },
  {
    what: 'a lambda.zip of 51 MB',
    call: () => lambda.create('x', { Code: { ZipFile: Buffer.alloc(52_428_801) } }),
    name: 'RequestEntityTooLargeException',
    message: /^Zipped size must be smaller than 52428800 bytes$/,
  },
  {
    what: 'a request of 70 MB',
    call: () => lambda.create('x', { Code: { ZipFile: Buffer.alloc(53_000_000) } }),
    name: 'RequestEntityTooLargeException',
    message: /^Request must be smaller than 70167211 bytes for the CreateFunction operation$/,
  },
  {
    what: 'a second function of the name',
    call: () => lambda.create('twice').then(() => lambda.create('twice')),
    name: 'ResourceConflictException',
    message: /^Function already exist: twice$/,
  },
  {
    what: "another account's ARN",
    call: () =>
      lambda.sdk.send(
        new GetFunctionCommand({ FunctionName: 'arn:aws:lambda:us-east-1:999999999999:function:x' }),
      ),
    name: 'AccessDeniedException',
    message: /account 100000000000, not to 999999999999/,
  },
  {
    what: 'a version',
    call: () =>
      lambda
        .create('v')
        .then(() => lambda.sdk.send(new GetFunctionCommand({ FunctionName: 'v', Qualifier: '7' }))),
    name: 'ResourceNotFoundException',
    message: /function:v:7$/,
  },
  {
    what: 'MaxItems 0',
    call: () => lambda.sdk.send(new ListFunctionsCommand({ MaxItems: 0 })),
    name: 'ValidationException',
    message: /'0' at 'maxItems'/,
  },
  {
    what: 'MaxItems 10001',
    call: () => lambda.sdk.send(new ListFunctionsCommand({ MaxItems: 10_001 })),
    name: 'ValidationException',
    message: /less than or equal to 10000/,
  },
  ...['nonsense', '%%%', Buffer.from('a.b').toString('base64url')].map((Marker) => ({
    what: `the Marker ${Marker}`,
    call: () => lambda.sdk.send(new ListFunctionsCommand({ Marker })),
    name: 'InvalidParameterValueException',
    message: /Invalid Marker .*NextMarker/,
  })),
  {
    what: 'tags of what is no ARN',
    call: () => lambda.sdk.send(new ListTagsCommand({ Resource: 'hello' })),
    name: 'ValidationException',
    message: /'hello' at 'resource'/,
  },
  {
    what: 'negative concurrency',
    call: () =>
      lambda
        .create('c')
        .then(() =>
          lambda.sdk.send(
            new PutFunctionConcurrencyCommand({ FunctionName: 'c', ReservedConcurrentExecutions: -1 }),
          ),
        ),
    name: 'ValidationException',
    message: /'reservedConcurrentExecutions'/,
  },
  {
    what: 'a URL with IAM',
    call: () =>
      lambda
        .create('u')
        .then(() =>
          lambda.sdk.send(new CreateFunctionUrlConfigCommand({ FunctionName: 'u', AuthType: 'AWS_IAM' })),
        ),
    name: 'InvalidParameterValueException',
    message: /AuthType AWS_IAM is not supported/,
  },
  {
    what: 'a wrong secret',
    call: () => clientFor(lambda.api, 'AKIAACME', 'wrong').send(new ListFunctionsCommand({})),
    name: 'InvalidSignatureException',
    message: /does not match the signature you provided/,
  },
  {
    what: 'an unknown key',
    call: () => clientFor(lambda.api, 'AKIANOBODY', 'x').send(new ListFunctionsCommand({})),
    name: 'UnrecognizedClientException',
    message: /security token .* is invalid/,
  },
];

describe('what AWS refuses is refused in its words', () => {
  test.each(refusals)('$what', async ({ call, name, message }) => {
    const thrown = await call().catch((error: unknown) => error);
    expect(thrown).toMatchObject({ name, message: expect.stringMatching(message) });
    expect(JSON.stringify(thrown)).not.toMatch(/\.ts:\d+|node_modules/);
    expect(lambda.api.defects).toEqual([]);
  });

  test('an app is no function', async () => {
    await lambda.api.control.deploy(
      'acme' as TenantId,
      {
        kind: 'app',
        name: 'chat' as WorkloadName,
        runtime: 'custom',
        code: { sha256: '0'.repeat(64), sizeBytes: 1 },
        request: {},
        env: {},
        start: 'x',
        scale: 1,
      },
      { mustCreate: false },
    );
    await expect(lambda.sdk.send(new GetFunctionCommand({ FunctionName: 'chat' }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
    await expect(lambda.create('chat')).rejects.toMatchObject({ name: 'ResourceConflictException' });
    expect((await lambda.sdk.send(new ListFunctionsCommand({}))).Functions).toEqual([]);
  });
});
