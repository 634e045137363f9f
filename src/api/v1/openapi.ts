// The OpenAPI 3.1 document, made from the same routes that serve and the same schemas that validate. Pure.
import { z } from 'zod';
import { errorKinds } from '../../base/errors.ts';
import type { Route } from './route.ts';

type Json = Record<string, unknown>;

const errorView = z
  .object({
    error: z.object({
      code: z.enum(Object.keys(errorKinds)).meta({ description: 'Stable; never renamed.' }),
      message: z.string().meta({ description: 'What happened and why.' }),
      hint: z.string().optional().meta({ description: 'How to solve it.' }),
    }),
  })
  .meta({ id: 'Error' });

const tags = [
  { name: 'tenants', description: 'Who may have how much.' },
  { name: 'workloads', description: 'Functions and apps: deploy, run, resize live.' },
  { name: 'machine', description: 'What runs, where, and what it has.' },
];

/** Named schemas go to `components`, where every route shares them. */
class Components {
  readonly schemas: Json = {};

  /** @param io what a caller sends (`input`), or what it gets */
  add(schema: z.ZodType, io: 'input' | 'output'): Json {
    const {
      $schema: _dialect,
      $defs,
      ...rest
    } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Json;
    Object.assign(this.schemas, moveReferences($defs ?? {}));
    return moveReferences(rest) as Json;
  }
}

function moveReferences(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value).replaceAll('"#/$defs/', '"#/components/schemas/'));
}

function parameters(components: Components, place: 'path' | 'query', schema: z.ZodType): Json[] {
  const { properties = {}, required = [] } = components.add(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...property }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: property,
  }));
}

function requestBody(components: Components, { body }: Route): Json {
  if (body.mediaTypes.length === 0) return {};
  const schema = body.schema === null ? {} : { schema: components.add(body.schema, 'input') };
  return {
    requestBody: {
      required: body.required,
      content: Object.fromEntries(body.mediaTypes.map((type) => [type, schema])),
    },
  };
}

function responses(components: Components, route: Route): Json {
  const schema = route.answer === null ? {} : { schema: components.add(route.answer, 'output') };
  const good = Object.entries(route.statuses).map(([status, description]) => [
    status,
    status === '204' ? { description } : { description, content: { [route.mediaType]: schema } },
  ]);
  return {
    ...Object.fromEntries(good),
    default: {
      description: 'Not done; the code says why.',
      content: { 'application/json': { schema: components.add(errorView, 'output') } },
    },
  };
}

export function openApiDocument(routes: readonly Route[], version: string): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const operation = {
      operationId: route.operationId,
      tags: [route.tag],
      summary: route.summary,
      parameters: [
        ...parameters(components, 'path', route.params),
        ...parameters(components, 'query', route.query),
      ],
      ...requestBody(components, route),
      responses: responses(components, route),
      ...(route.open === true ? { security: [] } : {}),
    };
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Bellows',
      version,
      description:
        'Runs code on demand and moves memory, CPU, storage and bandwidth between what is running, live.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ adminToken: [] }],
    tags,
    paths,
    components: {
      schemas: components.schemas,
      securitySchemes: {
        adminToken: {
          type: 'http',
          scheme: 'bearer',
          description: 'adminToken of credentials.json in the data directory.',
        },
      },
    },
  };
}
