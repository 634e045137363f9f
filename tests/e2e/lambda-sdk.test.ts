// Functions through the unmodified AWS SDK, as a user of Lambda would: deploy, call, configure, break.
// The suites run in virtual machines too (vm-workloads.test.ts). What is asked of Bellows alone, no unit concerned, is here.
import {
  GetFunctionConfigurationCommand,
  InvokeCommand,
  type LambdaClient,
  ListFunctionsCommand,
  ListTagsCommand,
  TagResourceCommand,
  UntagResourceCommand,
} from '@aws-sdk/client-lambda';
import { describe, expect, test } from 'vitest';
import { Functions } from '../support/functions.ts';
import { HostUnits } from '../support/units.ts';
import { functionFaultsSuite } from './suites/function-faults.ts';
import { functionLifeSuite } from './suites/function-life.ts';

const units = new HostUnits();
const functions = new Functions(units);
functionLifeSuite(units, functions);
functionFaultsSuite(units, functions);

describe('M-D1: what is kept of a function', () => {
  test('tags', async () => {
    const { FunctionArn: Resource } = await functions.create('tagged', 'export const handler = () => 1;');
    await functions.sdk.send(new TagResourceCommand({ Resource, Tags: { a: '1', b: '2' } }));
    await functions.sdk.send(new UntagResourceCommand({ Resource, TagKeys: ['a'] }));
    expect((await functions.sdk.send(new ListTagsCommand({ Resource }))).Tags).toEqual({ b: '2' });
  });
});

describe('M-D1: who may call', () => {
  test('a wrong secret, an unknown key, a skewed clock and no signature are refused as AWS does', async () => {
    await functions.create('guarded', 'export const handler = () => 1;'.replace('() => 1', 'async () => 1'));
    const { accessKeyId, secretAccessKey } = units.bellows.credentials.tenants['default']!;
    const as = (credentials: { accessKeyId: string; secretAccessKey: string }, more = {}): LambdaClient =>
      units.bellows.lambda('default', { credentials, ...more });
    const command = (): InvokeCommand => new InvokeCommand({ FunctionName: 'guarded' });
    await expect(as({ accessKeyId, secretAccessKey: 'wrong' }).send(command())).rejects.toMatchObject({
      name: 'InvalidSignatureException',
    });
    await expect(
      as({ accessKeyId, secretAccessKey: 'wrong' }).send(new ListFunctionsCommand({})),
    ).rejects.toMatchObject({
      name: 'InvalidSignatureException',
    });
    await expect(
      as({ accessKeyId: 'AKIAUNKNOWNUNKNOWN00', secretAccessKey }).send(command()),
    ).rejects.toMatchObject({
      name: 'UnrecognizedClientException',
    });
    await expect(
      as({ accessKeyId, secretAccessKey }, { systemClockOffset: 20 * 60 * 1000 }).send(command()),
    ).rejects.toMatchObject({ name: 'InvalidSignatureException' });
    const bare = await fetch(`${units.bellows.url}/2015-03-31/functions/guarded/invocations`, {
      method: 'POST',
      body: '{}',
    });
    expect(bare.status).toBe(403);
    expect(bare.headers.get('x-amzn-errortype')).toMatch(/MissingAuthenticationToken/);
  });

  test('tenants do not see each other’s functions', async () => {
    await functions.create('mine', 'export const handler = async () => 1;');
    const made = await units.bellows.v1<{ accessKeyId: string; secretAccessKey: string }>(
      'PUT',
      '/tenants/stranger',
      {},
    );
    expect(made.body.accessKeyId).toMatch(/./);
    const stranger = units.bellows.lambda('default', { credentials: made.body });
    await expect(stranger.send(new InvokeCommand({ FunctionName: 'mine' }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
    expect((await stranger.send(new ListFunctionsCommand({}))).Functions).toEqual([]);
    const { FunctionArn } = await functions.sdk.send(
      new GetFunctionConfigurationCommand({ FunctionName: 'mine' }),
    );
    await expect(stranger.send(new InvokeCommand({ FunctionName: FunctionArn! }))).rejects.toMatchObject({
      name: expect.stringMatching(/AccessDenied|ResourceNotFound/),
    });
  });
});
