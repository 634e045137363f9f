// The description of /v1 that is served, against the routes that it is made of.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startApi, type ApiUnderTest } from '../testing/api-under-test.ts';
import { v1Routes } from './serve.ts';

let api: ApiUnderTest;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const openApi = z.looseObject({
  openapi: z.string(),
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.looseObject({
        operationId: z.string(),
        parameters: z.array(z.looseObject({ in: z.string(), name: z.string() })),
        requestBody: z
          .object({ content: z.record(z.string(), z.unknown()) })
          .loose()
          .optional(),
        responses: z.record(z.string(), z.looseObject({ description: z.string() })),
      }),
    ),
  ),
  components: z.looseObject({ schemas: z.record(z.string(), z.unknown()) }),
});

test('the document names every route with its parameters, bodies and answers, and all references lead somewhere', async () => {
  const document = openApi.parse(await (await fetch(`${api.url}/v1/openapi.json`)).json());
  expect(document.openapi).toBe('3.1.0');
  for (const route of v1Routes) {
    const operation = document.paths[route.path]?.[route.method.toLowerCase()];
    expect(operation, `${route.method} ${route.path}`).toMatchObject({ operationId: route.operationId });
    const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect(operation?.parameters.filter((one) => one.in === 'path').map((one) => one.name)).toEqual(inPath);
    expect(Object.keys(operation?.requestBody?.content ?? {})).toEqual([...route.body.mediaTypes]);
    for (const status of Object.keys(route.statuses))
      expect(operation?.responses[status]?.description).toMatch(/\w/);
  }
  const text = JSON.stringify(document);
  for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) {
    expect(document.components.schemas, name).toHaveProperty(name!);
  }
  expect(text).not.toContain('$defs');
  expect(document.paths['/v1/tenants/{tenant}/limits']?.['put']?.requestBody?.content).toMatchObject({
    'application/json': { schema: { additionalProperties: false } },
  });
});
