// The life of a function, and the ways to call it, through the AWS SDK: on whatever units it runs.
import {
  CreateFunctionUrlConfigCommand,
  DeleteFunctionCommand,
  DeleteFunctionConcurrencyCommand,
  GetFunctionCommand,
  GetFunctionConcurrencyCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  ListFunctionsCommand,
  PutFunctionConcurrencyCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
} from '@aws-sdk/client-lambda';
import { describe, expect, test } from 'vitest';
import { zipOf } from '../../support/archives.ts';
import { eventually } from '../../support/bellows.ts';
import type { Functions } from '../../support/functions.ts';
import type { UnitsUnderTest } from '../../support/units.ts';

const mib = 1024 * 1024;

export function functionLifeSuite(units: UnitsUnderTest, functions: Functions): void {
  /**
   * Much longer than a start on the host and than the calls that come meanwhile, however busy it is: else who waits is
   * served sooner by one that runs, and no other is started for it.
   */
  const busyMs = 5_000;

  describe('M-D1: the life of a function', () => {
    test('code reaches the Bellows that runs it, where the SDK looks for it', async () => {
      await functions.create(
        'caller',
        `export const handler = async () => {
          const answer = await fetch(process.env.AWS_ENDPOINT_URL_LAMBDA + '/healthz');
          return [answer.status, await answer.json()];
        };`,
        { Timeout: 30 },
      );
      const { payload } = await functions.invoke('caller');
      expect(payload).toEqual([200, expect.objectContaining({ status: 'ok' })]);
      await functions.sdk.send(new DeleteFunctionCommand({ FunctionName: 'caller' }));
    });

    test('create, get, list in pages, update, delete', async () => {
      const created = await functions.create(
        'life',
        'export const handler = async (event) => ({ said: event.say });',
        {
          Description: 'first',
          MemorySize: 256,
          Timeout: 7,
          Environment: { Variables: { COLOUR: 'blue' } },
          Tags: { team: 'a' },
        },
      );
      expect(created).toMatchObject({
        FunctionName: 'life',
        Handler: 'index.handler',
        MemorySize: 256,
        Timeout: 7,
        State: 'Active',
        Version: '$LATEST',
        PackageType: 'Zip',
      });
      expect(created.FunctionArn).toMatch(/^arn:aws:lambda:us-east-1:\d{12}:function:life$/);
      expect(await functions.invoke('life', { say: 'ä' })).toMatchObject({
        status: 200,
        error: undefined,
        payload: { said: 'ä' },
      });
      expect((await functions.invoke(created.FunctionArn!, { say: 1 })).payload).toEqual({ said: 1 });
      const got = await functions.sdk.send(new GetFunctionCommand({ FunctionName: 'life' }));
      expect(got.Configuration?.CodeSha256).toBe(created.CodeSha256);
      expect(got.Tags).toEqual({ team: 'a' });
      const code = await fetch(got.Code!.Location!);
      expect(code.status).toBe(200);
      expect(
        Buffer.from(await code.arrayBuffer())
          .subarray(0, 2)
          .toString(),
      ).toBe('PK');

      for (const name of ['page-a', 'page-b', 'page-c'])
        await functions.create(name, 'export const handler = () => 1;');
      const names: string[] = [];
      let marker: string | undefined;
      do {
        const page = await functions.sdk.send(
          new ListFunctionsCommand({ MaxItems: 2, ...(marker === undefined ? {} : { Marker: marker }) }),
        );
        expect(page.Functions!.length).toBeLessThanOrEqual(2);
        names.push(...page.Functions!.map((each) => each.FunctionName!));
        marker = page.NextMarker;
      } while (marker !== undefined);
      expect([...names].sort()).toEqual(['life', 'page-a', 'page-b', 'page-c']);

      await functions.sdk.send(
        new UpdateFunctionCodeCommand({
          FunctionName: 'life',
          ZipFile: await zipOf({ 'index.mjs': 'export const handler = async () => process.env.COLOUR;' }),
        }),
      );
      expect((await functions.invoke('life')).payload).toBe('blue');
      await functions.sdk.send(
        new UpdateFunctionConfigurationCommand({
          FunctionName: 'life',
          Environment: { Variables: { COLOUR: 'red' } },
        }),
      );
      expect((await functions.invoke('life')).payload).toBe('red');
      await functions.sdk.send(new DeleteFunctionCommand({ FunctionName: 'life' }));
      await expect(functions.invoke('life')).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
      await expect(
        functions.sdk.send(new GetFunctionConfigurationCommand({ FunctionName: 'life' })),
      ).rejects.toMatchObject({
        name: 'ResourceNotFoundException',
      });
      await eventually(async () => (await functions.instancesOf('life')).length === 0, {
        timeoutMs: units.within(10_000),
      });
    });

    const applied = { timeout: 20_000, interval: 50 };
    test('M-A3: MemorySize and Timeout are applied live to the running instance: same pid, same state, the kernel’s new limit', async () => {
      await functions.create(
        'resized',
        'let n = 0; export const handler = (e, c) => ({ n: ++n, mb: c.memoryLimitInMB, left: c.getRemainingTimeInMillis() });'.replace(
          '=> ({',
          '=> Promise.resolve({',
        ),
        { MemorySize: 256 },
      );
      expect((await functions.invoke('resized')).payload).toMatchObject({ n: 1, mb: '256' });
      const [instance] = await functions.instancesOf('resized');
      expect(await units.memoryLimitOf(instance!)).toBe(256 * mib);
      for (const megabytes of [512, 192, 1024]) {
        await functions.sdk.send(
          new UpdateFunctionConfigurationCommand({
            FunctionName: 'resized',
            MemorySize: megabytes,
            Timeout: 20,
          }),
        );
        // A shrink that has to wait for the instance is applied a moment after the answer.
        await expect.poll(() => units.memoryLimitOf(instance!), applied).toBe(megabytes * mib);
        const { payload } = await functions.invoke('resized');
        expect(payload).toMatchObject({ mb: String(megabytes) });
        const { left } = payload as { left: number };
        expect(left).toBeGreaterThan(10_000);
        expect(left).toBeLessThanOrEqual(20_000);
      }
      expect((await functions.invoke('resized')).payload).toMatchObject({ n: 5 });
      expect((await functions.instancesOf('resized')).map(({ pid }) => pid)).toEqual([instance!.pid]);
    });
  });

  describe('M-D1: kinds of invocation', () => {
    test('DryRun, Event, LogType Tail, client context', async () => {
      await functions.create(
        'kinds',
        `import { writeFileSync } from 'node:fs';
         export const handler = async (event, context) => {
           console.log('said %s', event.say);
           if (event.note) writeFileSync('/tmp/note', event.note);
           return { id: context.awsRequestId, client: context.clientContext, env: process.env.AWS_LAMBDA_FUNCTION_NAME };
         };`,
      );
      expect((await functions.invoke('kinds', {}, { InvocationType: 'DryRun' })).status).toBe(204);
      expect((await functions.invoke('kinds', { say: 'later' }, { InvocationType: 'Event' })).status).toBe(
        202,
      );
      const tailed = await functions.invoke(
        'kinds',
        { say: 'hello' },
        { LogType: 'Tail', ClientContext: Buffer.from('{"custom":{"a":1}}').toString('base64') },
      );
      const { id } = tailed.payload as { id: string };
      expect(tailed.payload).toMatchObject({ client: { custom: { a: 1 } }, env: 'kinds' });
      expect(tailed.log).toContain(`START RequestId: ${id} Version: $LATEST`);
      expect(tailed.log).toContain(`\t${id}\tINFO\tsaid hello`);
      expect(tailed.log).toMatch(
        new RegExp(
          `REPORT RequestId: ${id}\\tDuration: [\\d.]+ ms\\tBilled Duration: \\d+ ms\\tMemory Size: 128 MB\\tMax Memory Used: (\\d+) MB`,
        ),
      );
      await eventually(async () => (await units.bellows.cli('logs', 'kinds')).stdout.includes('said later'), {
        timeoutMs: units.within(10_000),
        what: () => 'the asynchronous invocation to be logged',
      });
    });

    test('streamed, callback and CommonJS handlers', async () => {
      await functions.create('callback', '', {
        Code: {
          ZipFile: await zipOf({
            'index.js':
              'exports.handler = (event, context, callback) => setTimeout(() => callback(null, { cb: event.x }), 5);',
          }),
        },
      });
      expect((await functions.invoke('callback', { x: 3 })).payload).toEqual({ cb: 3 });
      await functions.create(
        'stream',
        `export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.write('one '); stream.write('two'); stream.end(); });`,
      );
      const answer = await functions.sdk.send(new InvokeCommand({ FunctionName: 'stream' }));
      expect(new TextDecoder().decode(answer.Payload)).toBe('one two');
      const streamed = await functions.sdk.send(
        new InvokeWithResponseStreamCommand({ FunctionName: 'stream' }),
      );
      const said: unknown[] = [];
      for await (const { PayloadChunk, InvokeComplete } of streamed.EventStream!)
        said.push(InvokeComplete ?? new TextDecoder().decode(PayloadChunk?.Payload));
      expect(said).toEqual(['one ', 'two', {}]);
      await functions.sdk.send(
        new CreateFunctionUrlConfigCommand({
          FunctionName: 'stream',
          AuthType: 'NONE',
          InvokeMode: 'RESPONSE_STREAM',
        }),
      );
      const atUrl = await fetch(`${units.bellows.url}/w/default/stream/`);
      expect(atUrl.headers.get('content-type')).toBe('application/octet-stream');
      expect(atUrl.headers.get('content-length')).toBeNull();
      expect(await atUrl.text()).toBe('one two');
    });

    test('an asynchronous invocation that was accepted survives kill -9 of the controller', async () => {
      await functions.create(
        'queued',
        `export const handler = async (event) => { await new Promise((r) => setTimeout(r, 300)); console.log('done-' + event.i); };`,
      );
      for (let i = 0; i < 5; i += 1)
        expect((await functions.invoke('queued', { i }, { InvocationType: 'Event' })).status).toBe(202);
      process.kill(units.bellows.pidOf('controller')!, 'SIGKILL');
      await eventually(
        async () => {
          const { stdout } = await units.bellows.cli('logs', 'queued');
          return [0, 1, 2, 3, 4].every((i) => stdout.includes(`done-${i}`));
        },
        { timeoutMs: units.within(60_000), what: () => 'all five to be run' },
      );
      // More were started for them than were needed in the end, which in machines takes a minute: the next test's start would wait for it.
      await functions.sdk.send(new DeleteFunctionCommand({ FunctionName: 'queued' }));
    });
  });

  describe('M-D4: concurrency', () => {
    test('reserved concurrency throttles with TooManyRequestsException and lifts again', async () => {
      await functions.create(
        'narrow',
        `export const handler = async ({ busyMs = 0 }) => { await new Promise((r) => setTimeout(r, busyMs)); return 1; };`,
      );
      await functions.invoke('narrow');
      await functions.sdk.send(
        new PutFunctionConcurrencyCommand({ FunctionName: 'narrow', ReservedConcurrentExecutions: 0 }),
      );
      await expect(functions.invoke('narrow')).rejects.toMatchObject({
        name: 'TooManyRequestsException',
        Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
      });
      await functions.sdk.send(
        new PutFunctionConcurrencyCommand({ FunctionName: 'narrow', ReservedConcurrentExecutions: 2 }),
      );
      expect(
        (await functions.sdk.send(new GetFunctionConcurrencyCommand({ FunctionName: 'narrow' })))
          .ReservedConcurrentExecutions,
      ).toBe(2);
      const fourAtOnce = () => [1, 2, 3, 4].map(() => functions.invoke('narrow', { busyMs }));
      const all = await Promise.allSettled(fourAtOnce());
      expect(all.filter((each) => each.status === 'fulfilled').length).toBe(2);
      await functions.sdk.send(new DeleteFunctionConcurrencyCommand({ FunctionName: 'narrow' }));
      const unlimited = await Promise.all(fourAtOnce());
      expect(unlimited.every((each) => each.error === undefined)).toBe(true);
      // In machines, whose start takes longer than those that run take for all four, more are rightly not started.
      if (units.kind === 'host') expect((await functions.instancesOf('narrow')).length).toBeGreaterThan(2);
    });
  });
}
