// Handlers made by frameworks run in the Node runtime as they are.
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { invokeFlag } from '../../protocol/instance.ts';
import { newRequestId, TestInstance } from '../testing/instance-client.ts';
import { plan } from './testing/plan.ts';
import { FunctionUnderTest } from './testing/function-under-test.ts';

const fn = new FunctionUnderTest();
afterEach(() => fn.dispose());

describe('handlers nobody here wrote run as they are', () => {
  const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url));
  const httpEvent = {
    version: '2.0',
    routeKey: '$default',
    rawPath: '/hello/you',
    rawQueryString: 'a=1',
    queryStringParameters: { a: '1' },
    headers: { host: 'x.localhost', 'content-type': 'application/json' },
    requestContext: {
      http: { method: 'POST', path: '/hello/you', sourceIp: '127.0.0.1', protocol: 'HTTP/1.1' },
      stage: '$default',
    },
    body: '{"n":1}',
    isBase64Encoded: false,
  };

  async function withModules(source: string): Promise<void> {
    const instance = fn.use(new TestInstance(plan, { 'index.mjs': source }));
    symlinkSync(modules, join(instance.taskDirectory, 'node_modules'));
    const env = {
      AWS_LAMBDA_FUNCTION_NAME: 'test',
      POWERTOOLS_SERVICE_NAME: 'svc',
      AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    };
    expect(await instance.bind(await fn.connect(), { env })).toEqual({ is: 'bound' });
  }

  test('@middy/core', async () => {
    await withModules(`import middy from '@middy/core';
      export const handler = middy().use({ before: (request) => { request.event.before = true }, after: (request) => { request.response.after = true } })
        .handler(async (event, context, { signal }) => ({ event, early: signal.aborted }));`);
    expect(await fn.valueOf({ a: 1 })).toEqual({ event: { a: 1, before: true }, early: false, after: true });
  });

  test('@aws-lambda-powertools/logger', async () => {
    await withModules(`import { Logger } from '@aws-lambda-powertools/logger'; const logger = new Logger();
      export const handler = async (event, context) => { logger.addContext(context); logger.info('from powertools', { event }); return 1 };`);
    const requestId = newRequestId();
    const { logTail } = await fn.client.invoke({ a: 1 }, { requestId, flags: invokeFlag.logTail });
    expect(JSON.parse(logTail.split('\n')[1] ?? '')).toMatchObject({
      message: 'from powertools',
      function_request_id: requestId,
      service: 'svc',
      cold_start: true,
    });
  });

  test('serverless-http with Express', async () => {
    await withModules(`import express from 'express'; import serverless from 'serverless-http';
      const app = express(); app.use(express.json()); app.post('/hello/:name', (req, res) => res.status(201).json({ name: req.params.name, q: req.query.a, n: req.body.n }));
      export const handler = serverless(app);`);
    const answer = (await fn.valueOf(httpEvent)) as { statusCode: number; body: string };
    expect(answer.statusCode).toBe(201);
    expect(JSON.parse(answer.body)).toEqual({ name: 'you', q: '1', n: 1 });
  });

  test('@fastify/aws-lambda', async () => {
    await withModules(`import Fastify from 'fastify'; import awsLambdaFastify from '@fastify/aws-lambda';
      const app = Fastify(); app.post('/hello/:name', async (request) => ({ name: request.params.name, q: request.query.a, n: request.body.n }));
      export const handler = awsLambdaFastify(app); await app.ready();`);
    const answer = (await fn.valueOf(httpEvent)) as { statusCode: number; body: string };
    expect(answer.statusCode).toBe(200);
    expect(JSON.parse(answer.body)).toEqual({ name: 'you', q: '1', n: 1 });
  });
});
