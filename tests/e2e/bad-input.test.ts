// Everything wrong that can be sent to one running Bellows, through its port and its command. Each is refused with its
// stable code and a message that names the fault (the tables are in bad-input/); afterwards the same processes serve,
// and nothing of it is left.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as aws from '@aws-sdk/client-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployStatefulApp } from '../support/apps.ts';
import { zipOf } from '../support/archives.ts';
import { sendSigned } from '../support/aws-signed.ts';
import { Bellows, eventually, projectRoot } from '../support/bellows.ts';
import { sendRaw } from '../support/raw-http.ts';
import { archiveCases } from './bad-input/archives.ts';
import { cliCases } from './bad-input/command-line.ts';
import { functions, sdkCases, signedCases } from './bad-input/lambda.ts';
import { host, rawCases } from './bad-input/raw.ts';
import { v1Cases } from './bad-input/v1.ts';

const roles = ['controller', 'gateway', 'agent'] as const;

let bellows: Bellows;
let pids: (number | undefined)[];
let filesBefore: string[];
beforeAll(async () => {
  bellows = await Bellows.start();
  await deployStatefulApp(bellows, 'default', 'stateful');
  const code = { 'index.mjs': 'export const handler = async (event) => event;' };
  const manifest = JSON.stringify({ kind: 'function', handler: 'index.handler', url: true });
  const deployed = await bellows.v1(
    'PUT',
    '/workloads/default/hello',
    await zipOf({ ...code, 'bellows.json': manifest }),
  );
  expect(deployed.status, JSON.stringify(deployed.body)).toBe(201);
  pids = roles.map((each) => bellows.pidOf(each));
  filesBefore = keptFiles();
});
afterAll(async () => {
  await bellows.stop();
});

/** What is on disk of submitted code, and of its staging. Instances' own files come and go with them. */
function keptFiles(): string[] {
  return ['blobs', 'code', 'code/default']
    .flatMap((name) => {
      try {
        return readdirSync(join(bellows.dataDirectory, name)).map((file) => `${name}/${file}`);
      } catch {
        return [];
      }
    })
    .sort();
}

/** An answer tells nothing of how or where Bellows is made. */
function expectDiscreet(text: string): void {
  expect(text).not.toMatch(/\.(ts|js|mjs):\d+|\n\s*at \S+ \(|node_modules/);
  expect(text).not.toContain(bellows.dataDirectory);
  expect(text).not.toContain(projectRoot);
}

function expectError(text: string, code: string, message: RegExp): void {
  expectDiscreet(text);
  const { error } = JSON.parse(text) as { error: { code: string; message: string } };
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
}

describe('/v1', () => {
  test.each(v1Cases)('%s', async (_what, request, body, status, code, message) => {
    const [method = '', path = ''] = request.split(' ');
    const answer = await fetch(bellows.url + path, {
      method,
      headers: { authorization: `Bearer ${bellows.credentials.adminToken}` },
      ...(body === undefined ? {} : { body }),
    });
    expect(answer.status).toBe(status);
    expectError(await answer.text(), code, message);
  });

  test.each([
    ['no token', {}],
    ['a wrong token', { authorization: 'Bearer wrong' }],
    ['another scheme', { authorization: 'Basic YWRtaW46YWRtaW4=' }],
    ['the token in the query', {}, '?token=x'],
    ['a token of 16 KB', { authorization: `Bearer ${'x'.repeat(16_000)}` }],
  ])('%s', async (_what, headers: Record<string, string>, query = '') => {
    for (const path of ['/v1/tenants', '/v1/nothing', '/v1/workloads/default/hello/logs']) {
      const answer = await fetch(bellows.url + path + query, { headers });
      expect(answer.status).toBe(401);
      expectError(await answer.text(), 'Unauthorized', /Authorization|token/);
    }
  });

  test.each(['text/xml', 'multipart/form-data; boundary=x', 'application/json; charset=utf-16'])(
    'a body is read as what it is, whatever its type says: %s',
    async (type) => {
      const answer = await fetch(`${bellows.url}/v1/tenants/default/limits`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${bellows.credentials.adminToken}`, 'content-type': type },
        body: '<memory>1GiB</memory>',
      });
      expect(answer.status).toBe(400);
      expectError(await answer.text(), 'BadRequest', /not JSON/);
    },
  );
});

describe('archives', () => {
  test.each(archiveCases)('%s', { timeout: 60_000 }, async (_what, archive, status, code, message) => {
    const answer = await fetch(`${bellows.url}/v1/workloads/default/bad`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${bellows.credentials.adminToken}` },
      body: new Uint8Array(await archive()),
    });
    expect(answer.status).toBe(status);
    expectError(await answer.text(), code, message);
    expect((await bellows.v1('GET', '/workloads/default/bad')).status).toBe(404);
  });
});

describe('the Lambda API, through the SDK', () => {
  test.each(sdkCases)('%s', async (_what, command, name, message) => {
    const sent = bellows.lambda().send((await command()) as aws.InvokeCommand);
    const error = await sent.then(
      () => undefined,
      (thrown: unknown) => thrown as aws.LambdaServiceException,
    );
    expect(error).toMatchObject({ name, message: expect.stringMatching(message) });
    expect(error!.$metadata.requestId).toMatch(/./);
    expectDiscreet(error!.message);
  });

  test.each([
    ['a wrong secret', { secretAccessKey: 'wrong' }, 'InvalidSignatureException'],
    ['a key that nobody has', { accessKeyId: 'AKIANOBODY' }, 'UnrecognizedClientException'],
  ])('%s', async (_what, wrong, name) => {
    const credentials = { ...bellows.credentials.tenants['default']!, ...wrong };
    await expect(
      bellows.lambda('default', { credentials }).send(new aws.ListFunctionsCommand()),
    ).rejects.toMatchObject({ name });
    await expect(
      bellows.lambda('default', { credentials }).send(new aws.InvokeCommand({ FunctionName: 'hello' })),
    ).rejects.toMatchObject({ name });
  });
});

describe('the Lambda API, with requests that no SDK sends', () => {
  test.each(signedCases)('%s', async (_what, request, body, options, status, type) => {
    const [method = '', path = ''] = request.split(' ');
    const answer = await sendSigned(bellows, method, path, body, options);
    expect({ status: answer.status, type: answer.headers.get('x-amzn-errortype') }).toEqual({ status, type });
    expectDiscreet(answer.text);
    const { message, Message } = JSON.parse(answer.text) as { message?: string; Message?: string };
    expect(message ?? Message).toMatch(/\w/);
  });
});

describe('the command line', () => {
  test.each(cliCases)('%s', async (_what, args, code, message) => {
    const ran = await bellows.cli(...args);
    expect(ran, ran.stderr).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(message);
    expect(ran.stderr).not.toMatch(/\.(ts|js|mjs):\d+|\n\s*at \S+ \(|node_modules/);
  });
});

describe('what is no HTTP, or not quite', () => {
  test.each(rawCases)('%s', async (_what, bytes, status, message) => {
    const answer = await sendRaw(bellows.port, bytes);
    expect(answer).toMatchObject({ status, answers: 1 });
    expectDiscreet(answer.body);
    const { error } = JSON.parse(answer.body) as { error: { code: string; message: string } };
    expect(error.code).toMatch(/^[A-Z][A-Za-z]+$/);
    expect(error.message).toMatch(message);
  });

  test('a body that is shorter than it says, and a client that leaves in the middle', async () => {
    for (const path of [
      '/v1/reclaim',
      '/w/default/stateful/upload',
      '/w/default/hello/',
      `${functions}/hello/invocations`,
    ]) {
      const request = `POST ${path} HTTP/1.1\r\n${host}Content-Length: 1000\r\n\r\n{"a":`;
      const answer = await sendRaw(bellows.port, request, { ends: true });
      expect(answer.answers).toBeLessThanOrEqual(1);
      expectDiscreet(answer.body);
    }
  });
});

test('after all of that the same processes serve, and nothing of it is left', async () => {
  expect(roles.map((each) => bellows.pidOf(each))).toEqual(pids);
  expect((await fetch(`${bellows.url}/healthz`)).status).toBe(200);
  const invoked = await bellows
    .lambda()
    .send(new aws.InvokeCommand({ FunctionName: 'hello', Payload: '{"still":"here"}' }));
  expect(new TextDecoder().decode(invoked.Payload)).toBe('{"still":"here"}');
  expect((await fetch(`${bellows.url}/w/default/stateful/state`)).status).toBe(200);
  const { body: workloads } = await bellows.v1<{ name: string }[]>('GET', '/workloads');
  expect(workloads.map(({ name }) => name).sort()).toEqual(['hello', 'stateful']);
  expect((await bellows.v1<{ id: string }[]>('GET', '/tenants')).body.map(({ id }) => id)).toEqual([
    'default',
  ]);
  await eventually(() => JSON.stringify(keptFiles()) === JSON.stringify(filesBefore), {
    what: () => `${keptFiles().join(' ')} to be ${filesBefore.join(' ')}`,
  });
});
