// Every call here is made by the unmodified AWS SDK; what it can not be made to send is in bad-input.test.ts.
import {
  CreateFunctionCommand,
  CreateFunctionUrlConfigCommand,
  DeleteFunctionCommand,
  DeleteFunctionConcurrencyCommand,
  DeleteFunctionUrlConfigCommand,
  GetFunctionCommand,
  GetFunctionConcurrencyCommand,
  GetFunctionConfigurationCommand,
  GetFunctionUrlConfigCommand,
  ListFunctionsCommand,
  ListTagsCommand,
  ListVersionsByFunctionCommand,
  PutFunctionConcurrencyCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
  UpdateFunctionUrlConfigCommand,
  paginateListFunctions,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from '@aws-sdk/client-lambda';
import { createHash } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { TenantId, WorkloadName } from '../../base/ids.ts';
import { clientFor, LambdaUnderTest } from '../testing/lambda-client.ts';
import { zipOf } from '../testing/archives.ts';

const lambda = new LambdaUnderTest();

describe('M-D1: the AWS SDK manages functions', () => {
  test('create, wait until active, read, download, delete', async () => {
    const created = await lambda.create('hello', {
      Description: 'says hello',
      Timeout: 30,
      MemorySize: 256,
      Environment: { Variables: { STAGE: 'test' } },
      Tags: { team: 'a' },
      EphemeralStorage: { Size: 1024 },
    });
    const configuration = {
      FunctionName: 'hello',
      FunctionArn: 'arn:aws:lambda:us-east-1:100000000000:function:hello',
      Runtime: 'nodejs26.x',
      Role: 'arn:aws:iam::123456789012:role/lambda',
      Handler: 'index.handler',
      CodeSize: lambda.zip.length,
      Description: 'says hello',
      Timeout: 30,
      MemorySize: 256,
      LastModified: '2026-01-01T00:00:01.234+0000',
      CodeSha256: createHash('sha256').update(lambda.zip).digest('base64'),
      Version: '$LATEST',
      Environment: { Variables: { STAGE: 'test' } },
      TracingConfig: { Mode: 'PassThrough' },
      State: 'Active',
      LastUpdateStatus: 'Successful',
      PackageType: 'Zip',
      Architectures: [process.arch === 'arm64' ? 'arm64' : 'x86_64'],
      EphemeralStorage: { Size: 1024 },
      SnapStart: { ApplyOn: 'None', OptimizationStatus: 'Off' },
      LoggingConfig: { LogFormat: 'Text', LogGroup: '/aws/lambda/hello' },
    };
    expect(created).toMatchObject(configuration);
    const waited = await waitUntilFunctionActiveV2(
      { client: lambda.sdk, maxWaitTime: 10 },
      { FunctionName: 'hello' },
    );
    expect(waited.state).toBe('SUCCESS');
    const read = await lambda.sdk.send(new GetFunctionCommand({ FunctionName: 'hello' }));
    expect(read).toMatchObject({
      Configuration: configuration,
      Tags: { team: 'a' },
      Code: { RepositoryType: 'S3' },
    });
    const download = await fetch(read.Code!.Location!);
    expect(Buffer.from(await download.arrayBuffer()).equals(lambda.zip)).toBe(true);
    const sha256 = createHash('sha256').update(lambda.zip).digest('hex');
    expect(await readFile(join(lambda.api.layout.codeOf('acme', sha256), 'index.js'), 'utf8')).toContain(
      'exports.handler',
    );

    await lambda.sdk.send(new DeleteFunctionCommand({ FunctionName: 'hello' }));
    await expect(lambda.sdk.send(new GetFunctionCommand({ FunctionName: 'hello' }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
      message: 'Function not found: arn:aws:lambda:us-east-1:100000000000:function:hello',
      $metadata: { httpStatusCode: 404 },
    });
  });

  test('ARNs name the region that the caller signed for, and the code sees the one it was created in', async () => {
    const europe = clientFor(lambda.api, 'AKIAACME', 'secret of acme', 'eu-central-1');
    const arn = (region: string): string => `arn:aws:lambda:${region}:100000000000:function:here`;
    const created = await europe.send(
      new CreateFunctionCommand({
        FunctionName: 'here',
        Runtime: 'nodejs22.x',
        Handler: 'index.handler',
        Role: 'arn:aws:iam::123456789012:role/lambda',
        Code: { ZipFile: lambda.zip },
      }),
    );
    expect(created.FunctionArn).toBe(arn('eu-central-1'));
    expect(lambda.api.control.getWorkload('acme' as TenantId, 'here' as WorkloadName)).toMatchObject({
      region: 'eu-central-1',
    });
    for (const [client, region] of [
      [europe, 'eu-central-1'],
      [lambda.sdk, 'us-east-1'],
    ] as const) {
      const got = await client.send(new GetFunctionConfigurationCommand({ FunctionName: 'here' }));
      expect(got.FunctionArn).toBe(arn(region));
      const listed = await client.send(new ListFunctionsCommand({}));
      expect(listed.Functions?.map(({ FunctionArn }) => FunctionArn)).toEqual([arn(region)]);
      const missing = client.send(new GetFunctionCommand({ FunctionName: 'nope' }));
      await expect(missing).rejects.toThrow(`Function not found: ${arn(region).replace('here', 'nope')}`);
    }
    europe.destroy();
  });

  test("Lambda's defaults are 128 MB, 3 seconds and no environment", async () => {
    await lambda.create('plain');
    const configuration = await lambda.sdk.send(
      new GetFunctionConfigurationCommand({ FunctionName: 'plain' }),
    );
    expect(configuration).toMatchObject({
      MemorySize: 128,
      Timeout: 3,
      Description: '',
      EphemeralStorage: { Size: 512 },
    });
    expect(configuration.Environment).toBeUndefined();
    const { Versions } = await lambda.sdk.send(new ListVersionsByFunctionCommand({ FunctionName: 'plain' }));
    expect(Versions).toMatchObject([{ Version: '$LATEST' }]);
  });

  test('handlers for an older Node are taken, and the answers say them back', async () => {
    for (const Runtime of ['nodejs20.x', 'nodejs22.x', 'nodejs24.x'] as const) {
      expect(await lambda.create(`old-${Runtime.slice(6, 8)}`, { Runtime })).toMatchObject({ Runtime });
    }
  });

  test('a function is found by name, partial ARN and ARN', async () => {
    await lambda.create('hello');
    const names = [
      'hello',
      'function:hello',
      '100000000000:function:hello',
      'arn:aws:lambda:us-east-1:100000000000:function:hello',
      'arn:aws:lambda:us-east-1:100000000000:function:hello:$LATEST',
    ];
    for (const FunctionName of names) {
      expect(
        (await lambda.sdk.send(new GetFunctionConfigurationCommand({ FunctionName }))).FunctionName,
      ).toBe('hello');
    }
  });

  test('lists are paged, and hold only the own functions', async () => {
    for (let index = 0; index < 7; index += 1) await lambda.create(`f${index}`);
    await lambda.api.control.putTenant('other' as TenantId, {});
    const names: (string | undefined)[] = [];
    let pages = 0;
    for await (const page of paginateListFunctions({ client: lambda.sdk, pageSize: 3 }, {})) {
      pages += 1;
      names.push(...(page.Functions ?? []).map((one) => one.FunctionName));
    }
    expect(pages).toBe(3);
    expect(names).toEqual(['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6']);
    const other = clientFor(lambda.api, 'AKIAOTHER', 'secret of other');
    expect((await other.send(new ListFunctionsCommand({}))).Functions).toEqual([]);
    other.destroy();
  });

  test('code is replaced, and a dry run replaces nothing', async () => {
    const { RevisionId } = await lambda.create('hello');
    const next = await zipOf({ 'index.mjs': 'export const handler = () => 2' });
    const sha256 = createHash('sha256').update(next);
    const dry = await lambda.sdk.send(
      new UpdateFunctionCodeCommand({ FunctionName: 'hello', ZipFile: next, DryRun: true }),
    );
    const hex = sha256.copy().digest('hex');
    expect(dry.CodeSha256).toBe(sha256.digest('base64'));
    expect(dry.RevisionId).toBe(RevisionId);
    await expect(access(lambda.api.layout.codeOf('acme', hex))).rejects.toThrow('ENOENT');
    const wet = await lambda.sdk.send(
      new UpdateFunctionCodeCommand({
        FunctionName: 'hello',
        ZipFile: next,
        ...(RevisionId === undefined ? {} : { RevisionId }),
      }),
    );
    expect(wet.CodeSha256).toBe(dry.CodeSha256);
    expect(wet.RevisionId).not.toBe(RevisionId);
    await access(lambda.api.layout.codeOf('acme', hex));
    expect(
      (await waitUntilFunctionUpdatedV2({ client: lambda.sdk, maxWaitTime: 10 }, { FunctionName: 'hello' }))
        .state,
    ).toBe('SUCCESS');
    await expect(
      lambda.sdk.send(
        new UpdateFunctionCodeCommand({ FunctionName: 'hello', ZipFile: next, RevisionId: 'stale' }),
      ),
    ).rejects.toMatchObject({ name: 'PreconditionFailedException', $metadata: { httpStatusCode: 412 } });
  });

  test('configuration is changed member by member, memory and timeout as a live resize', async () => {
    await lambda.create('hello', { Environment: { Variables: { ONE: '1', TWO: '2' } } });
    const changed = await lambda.sdk.send(
      new UpdateFunctionConfigurationCommand({ FunctionName: 'hello', MemorySize: 512, Timeout: 60 }),
    );
    expect(changed).toMatchObject({
      MemorySize: 512,
      Timeout: 60,
      Environment: { Variables: { ONE: '1', TWO: '2' } },
    });
    expect(lambda.api.control.calls.at(-1)?.args[2]).toEqual({
      timeoutMs: 60_000,
      request: { memory: 536_870_912 },
    });
    const more = await lambda.sdk.send(
      new UpdateFunctionConfigurationCommand({
        FunctionName: 'hello',
        Handler: 'other.handler',
        Description: '',
        Runtime: 'nodejs24.x',
        Environment: { Variables: {} },
        TracingConfig: { Mode: 'PassThrough' },
        VpcConfig: { SubnetIds: [], SecurityGroupIds: [] },
      }),
    );
    expect(more).toMatchObject({ Handler: 'other.handler', MemorySize: 512 });
    expect(more.Environment).toBeUndefined();
    await expect(
      lambda.sdk.send(
        new UpdateFunctionConfigurationCommand({ FunctionName: 'hello', Timeout: 9, RevisionId: 'stale' }),
      ),
    ).rejects.toMatchObject({ name: 'PreconditionFailedException' });
  });

  test('reserved concurrency is put, read and deleted', async () => {
    await lambda.create('hello');
    const FunctionName = 'hello';
    await lambda.sdk.send(
      new PutFunctionConcurrencyCommand({ FunctionName, ReservedConcurrentExecutions: 5 }),
    );
    expect(
      (await lambda.sdk.send(new GetFunctionConcurrencyCommand({ FunctionName })))
        .ReservedConcurrentExecutions,
    ).toBe(5);
    expect((await lambda.sdk.send(new GetFunctionCommand({ FunctionName }))).Concurrency).toEqual({
      ReservedConcurrentExecutions: 5,
    });
    await lambda.sdk.send(new DeleteFunctionConcurrencyCommand({ FunctionName }));
    expect(
      (await lambda.sdk.send(new GetFunctionConcurrencyCommand({ FunctionName })))
        .ReservedConcurrentExecutions,
    ).toBeUndefined();
  });

  test('tags are added, listed and removed', async () => {
    await lambda.create('hello', { Tags: { a: '1' } });
    const Resource = 'arn:aws:lambda:us-east-1:100000000000:function:hello';
    await lambda.sdk.send(new TagResourceCommand({ Resource, Tags: { b: '2', 'c d': '3' } }));
    await lambda.sdk.send(new UntagResourceCommand({ Resource, TagKeys: ['a', 'c d'] }));
    expect((await lambda.sdk.send(new ListTagsCommand({ Resource }))).Tags).toEqual({ b: '2' });
  });

  test('a function URL is made, read, changed and deleted', async () => {
    await lambda.create('hello');
    const FunctionName = 'hello';
    const made = await lambda.sdk.send(
      new CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }),
    );
    expect(made.FunctionUrl).toBe(`http://hello.acme.localhost:${new URL(lambda.api.url).port}/`);
    expect(await lambda.sdk.send(new GetFunctionUrlConfigCommand({ FunctionName }))).toMatchObject({
      AuthType: 'NONE',
      InvokeMode: 'BUFFERED',
    });
    await expect(
      lambda.sdk.send(new CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' })),
    ).rejects.toMatchObject({
      name: 'ResourceConflictException',
    });
    expect(
      await lambda.sdk.send(
        new UpdateFunctionUrlConfigCommand({ FunctionName, InvokeMode: 'RESPONSE_STREAM' }),
      ),
    ).toMatchObject({ FunctionUrl: made.FunctionUrl, AuthType: 'NONE', InvokeMode: 'RESPONSE_STREAM' });
    // What is not named stays.
    await lambda.sdk.send(new UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }));
    expect(await lambda.sdk.send(new GetFunctionUrlConfigCommand({ FunctionName }))).toMatchObject({
      InvokeMode: 'RESPONSE_STREAM',
    });
    await expect(
      lambda.sdk.send(new UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: 'AWS_IAM' })),
    ).rejects.toMatchObject({ name: 'InvalidParameterValueException' });
    await lambda.sdk.send(new DeleteFunctionUrlConfigCommand({ FunctionName }));
    await expect(
      lambda.sdk.send(new UpdateFunctionUrlConfigCommand({ FunctionName, InvokeMode: 'BUFFERED' })),
    ).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
    await expect(lambda.sdk.send(new GetFunctionUrlConfigCommand({ FunctionName }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
  });
});

test('a link to code is good for that code only, and only as it was signed', async () => {
  await lambda.create('hello');
  const { Code } = await lambda.sdk.send(new GetFunctionCommand({ FunctionName: 'hello' }));
  const link = new URL(Code!.Location!);
  const forged = new URL(link);
  forged.searchParams.set('expires', String(Date.now() + 1e9));
  expect((await fetch(forged)).status).toBe(403);
  const over = new URL(link);
  over.searchParams.delete('signature');
  expect((await fetch(over)).status).toBe(403);
  expect((await fetch(String(link).replace('hello', 'other'))).status).toBe(403);
  const next = await zipOf({ 'index.js': 'other' });
  await lambda.sdk.send(new UpdateFunctionCodeCommand({ FunctionName: 'hello', ZipFile: next }));
  expect((await fetch(link)).status).toBe(404);
});
