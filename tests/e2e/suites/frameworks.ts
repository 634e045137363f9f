// Handlers that nobody here wrote run unmodified: Express by serverless-http, Fastify by its adapter, Middy, Powertools.
// Their packages go into the archive as npm installed them here. On whatever units they run.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { filesBelow } from '../../support/apps.ts';
import { zipOf, type Files } from '../../support/archives.ts';
import { eventually, projectRoot } from '../../support/bellows.ts';
import { Functions } from '../../support/functions.ts';
import type { UnitsUnderTest } from '../../support/units.ts';

/** A package and all that it depends on, as flat as npm laid them out. */
function withDependencies(names: readonly string[]): Files {
  const files: Record<string, Buffer> = {};
  const seen = new Set<string>();
  const add = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const directory = join(projectRoot, 'node_modules', name);
    if (!existsSync(directory)) return;
    for (const [path, content] of Object.entries(filesBelow(directory))) {
      if (!/\.(map|d\.[cm]?ts)$/.test(path)) files[`node_modules/${name}/${path}`] = content;
    }
    const described = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    for (const dependency of Object.keys(described.dependencies ?? {})) add(dependency);
    const nested = join(directory, 'node_modules');
    if (existsSync(nested))
      for (const inner of readdirSync(nested))
        if (!inner.startsWith('.')) add(`${name}/node_modules/${inner}`);
  };
  for (const name of names) add(name);
  return files;
}

/** API Gateway's payload 2.0, as AWS documents it. */
const httpEvent = {
  version: '2.0',
  routeKey: '$default',
  rawPath: '/greet/Ada',
  rawQueryString: 'polite=yes',
  headers: { host: 'example.test', 'content-type': 'application/json' },
  queryStringParameters: { polite: 'yes' },
  requestContext: {
    http: {
      method: 'GET',
      path: '/greet/Ada',
      protocol: 'HTTP/1.1',
      sourceIp: '127.0.0.1',
      userAgent: 'test',
    },
    stage: '$default',
  },
  isBase64Encoded: false,
};

export function frameworksSuite(units: UnitsUnderTest): void {
  const functions = new Functions(units);

  const run = async (
    name: string,
    packages: readonly string[],
    code: string,
    event: unknown,
  ): Promise<unknown> => {
    await functions.create(name, code, {
      MemorySize: 256,
      Timeout: 20,
      Code: { ZipFile: await zipOf({ ...withDependencies(packages), 'index.mjs': code }) },
    });
    const { error, payload } = await functions.invoke(name, event);
    expect(error, JSON.stringify(payload)).toBeUndefined();
    return payload;
  };

  test('M-D1: Express through serverless-http', async () => {
    const answer = await run(
      'express',
      ['express', 'serverless-http'],
      `import express from 'express'; import serverless from 'serverless-http';
       const app = express(); app.get('/greet/:name', (req, res) => res.status(201).set('x-by', 'express').json({ hello: req.params.name, polite: req.query.polite }));
       export const handler = serverless(app);`,
      httpEvent,
    );
    expect(answer).toMatchObject({ statusCode: 201, headers: { 'x-by': 'express' } });
    expect(JSON.parse((answer as { body: string }).body)).toEqual({ hello: 'Ada', polite: 'yes' });
  });

  test('M-D1: Fastify through @fastify/aws-lambda', async () => {
    const answer = await run(
      'fastify',
      ['fastify', '@fastify/aws-lambda'],
      `import Fastify from 'fastify'; import awsLambdaFastify from '@fastify/aws-lambda';
       const app = Fastify(); app.get('/greet/:name', async (req) => ({ hello: req.params.name }));
       export const handler = awsLambdaFastify(app); await app.ready();`,
      httpEvent,
    );
    expect(answer).toMatchObject({ statusCode: 200, body: '{"hello":"Ada"}' });
  });

  test('M-D1: a Middy handler with its middlewares', async () => {
    const answer = await run(
      'middy',
      ['@middy/core'],
      `import middy from '@middy/core';
       const order = [];
       export const handler = middy().use({ before: ({ event }) => { event.before = true; }, after: (r) => { r.response.after = true; } })
         .handler(async (event, context, { signal }) => ({ before: event.before, id: context.awsRequestId.length, signal: signal instanceof AbortSignal }));`,
      {},
    );
    expect(answer).toEqual({ before: true, id: 36, signal: true, after: true });
  });

  test('M-D1: Powertools’ logger', async () => {
    const answer = await run(
      'powertools',
      ['@aws-lambda-powertools/logger'],
      `import { Logger } from '@aws-lambda-powertools/logger';
       const logger = new Logger({ serviceName: 'greeter' });
       export const handler = async (event, context) => { logger.addContext(context); logger.info('greeted', { who: event.who }); return 'ok'; };`,
      { who: 'Ada' },
    );
    expect(answer).toBe('ok');
    // Lines come a moment after the answer.
    let lines = '';
    await eventually(
      async () => {
        lines = (await units.bellows.cli('logs', 'powertools')).stdout;
        return lines.includes('"service":"greeter"');
      },
      { timeoutMs: units.within(10_000), what: () => `the logged line in ${JSON.stringify(lines)}` },
    );
    expect(lines).toContain('"function_name":"powertools"');
  });
}
