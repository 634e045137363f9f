// bellows.json: what a submitted directory says of itself. Owns its schema and its reading; every fault names the
// field, why it is wrong and how to solve it. The directory was checked while it was unpacked (src/api/archive).
import { lstat, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';
import type { WorkloadName } from '../../base/ids.ts';
import { resourceKinds, type PartialResources } from '../../model/resources.ts';
import {
  defaultIdleTimeoutSeconds,
  defaultRouteSelectionExpression,
  routeSelectionPattern,
  type WebSocketSettings,
} from '../../model/websocket.ts';
import { unitKinds } from '../../model/unit-kind.ts';
import { urlInvokeModes, type RuntimeName } from '../../model/workload.ts';
import type { Deployment, SubmittedCode } from '../../controller/control-plane.ts';
import { maxManifestBytes } from '../archive/limits.ts';
import { appRuntime, appRuntimeNames, functionRuntime, functionRuntimeNames } from '../runtimes.ts';
import { instanceSizeFields, scaleField } from './fields.ts';
import { parsedBy, parseInput, parseJson } from './invalid.ts';

export const manifestFileName = 'bellows.json';

/** Linux passes at most 128 KiB in one string and a few MiB in all; more is data, which belongs in a file. */
const maxEnvBytes = 96 * 1024;
/** Lambda's longest and default time-outs, in seconds. */
const maxTimeoutSeconds = 900;
const defaultTimeoutSeconds = 3;
/** Lambda's limits of handlers and descriptions. */
const maxHandlerLength = 128;
const maxDescriptionLength = 256;
const maxCommandLength = 4_096;
const maxTags = 50;
/** A year: more is no limit, which has a word of its own. */
const maxConnectionSeconds = 31_536_000;

const envField = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'the name of a variable has letters, digits and underscores'),
    z.string().refine((value) => !value.includes('\0'), 'a variable can not hold a NUL'),
  )
  .refine(
    (env) => Buffer.byteLength(JSON.stringify(env)) <= maxEnvBytes,
    `at most ${maxEnvBytes} bytes in all`,
  )
  .default({});

/** What runs, and what it was called. */
interface NamedRuntime {
  readonly name: RuntimeName;
  readonly identifier: string;
}

function runtimeField(
  resolve: (identifier: string) => RuntimeName | undefined,
  identifiers: readonly string[],
): z.ZodType<NamedRuntime, string | undefined> {
  return z
    .string()
    .transform(
      parsedBy((identifier): NamedRuntime => {
        const name = resolve(identifier);
        if (name !== undefined) return { name, identifier };
        throw new BellowsError(
          'UnsupportedRuntime',
          `the runtime ${JSON.stringify(identifier.slice(0, 40))} is not supported here`,
          `Use one of ${identifiers.join(', ')}.`,
        );
      }),
    )
    .prefault('nodejs26.x');
}

const common = {
  ...instanceSizeFields,
  env: envField,
  network: z.enum(['host', 'none']).optional(),
  unit: z
    .enum(unitKinds, `it is one of ${unitKinds.join(', ')}`)
    .optional()
    .meta({
      description: 'Where its instances run: on this machine, or in virtual machines; without: as before.',
    }),
  tags: z
    .record(z.string().min(1).max(128), z.string().max(256))
    .refine((tags) => Object.keys(tags).length <= maxTags, `at most ${maxTags} tags`)
    .optional(),
};

const secondsField = z.int().min(1).max(maxConnectionSeconds).nullable();

const apiGatewayRoutes: readonly string[] = ['$connect', '$disconnect', '$default'];
/** One that is mistyped would be called for nothing: without `$connect`, whoever comes is let in. */
const routeField = z
  .string()
  .regex(/^[$A-Za-z0-9_.:-]{1,128}$/, 'a route has letters, digits and $_.:-')
  .refine(
    (name) => !name.startsWith('$') || apiGatewayRoutes.includes(name),
    `of routes that begin with $ there are ${apiGatewayRoutes.join(', ')}`,
  );
/** What they answer is heard by the handshake, or by nobody. */
const routesWithoutMessage: readonly string[] = ['$connect', '$disconnect'];

const webSocketField = z
  .strictObject({
    routes: z.array(routeField).min(1).max(300),
    routeResponses: z.array(routeField).max(300).optional().meta({
      description: 'Routes whose answers go to the client, as with a route response; without: all.',
    }),
    routeSelectionExpression: z
      .string()
      .regex(
        routeSelectionPattern,
        'a route is selected by a member of a JSON message: "$request.body.action"',
      )
      .default(defaultRouteSelectionExpression),
    idleTimeout: secondsField
      .default(defaultIdleTimeoutSeconds)
      .meta({ description: 'Seconds in which a connection carries nothing; null: for as long as it likes.' }),
    maxDuration: secondsField
      .default(null)
      .meta({ description: 'Seconds that a connection may be open; null: for as long as it likes.' }),
  })
  .refine(
    ({ routes, routeResponses = [] }) =>
      routeResponses.every((name) => routes.includes(name) && !routesWithoutMessage.includes(name)),
    {
      path: ['routeResponses'],
      message: 'a route that answers is one of "routes" for messages: "$default" or one of its own',
    },
  );

function webSocketSettingsOf({
  routes,
  routeResponses,
  routeSelectionExpression,
  idleTimeout,
  maxDuration,
}: z.infer<typeof webSocketField>): WebSocketSettings {
  return {
    routes,
    ...(routeResponses && { routeResponses }),
    routeSelectionExpression,
    idleTimeoutMs: idleTimeout === null ? null : idleTimeout * 1_000,
    maxDurationMs: maxDuration === null ? null : maxDuration * 1_000,
  };
}

const appManifest = z.strictObject({
  kind: z.literal('app'),
  start: z
    .string()
    .trim()
    .min(1, 'the command that starts the server can not be empty')
    .max(maxCommandLength)
    .refine((command) => !command.includes('\0'), 'a command can not hold a NUL'),
  runtime: runtimeField(appRuntime, appRuntimeNames),
  scale: scaleField.default(1),
  directHttp: z.boolean().default(false).meta({
    description: 'Whether it is given HTTP connections that come by its host, as it is given WebSockets.',
  }),
  ...common,
});

const functionManifest = z.strictObject({
  kind: z.literal('function'),
  handler: z
    .string()
    .max(maxHandlerLength)
    .regex(/^[^\s.][^\s]*\.[^\s.]+$/, 'a handler is FILE.EXPORT, such as "index.handler"'),
  runtime: runtimeField(functionRuntime, functionRuntimeNames),
  timeout: z
    .int()
    .min(1)
    .max(maxTimeoutSeconds)
    .default(defaultTimeoutSeconds)
    .meta({ description: 'Seconds.' }),
  description: z.string().max(maxDescriptionLength).optional(),
  url: z
    .union([z.boolean(), z.strictObject({ invokeMode: z.enum(urlInvokeModes).default('BUFFERED') })], {
      error: `it is true, false, or {"invokeMode": one of ${urlInvokeModes.join(', ')}}`,
    })
    .default(false),
  websocket: webSocketField.optional(),
  ...common,
});

const manifestSchema = z.discriminatedUnion('kind', [appManifest, functionManifest]);
export type Manifest = z.infer<typeof manifestSchema>;

/** @throws BellowsError InvalidManifest, or UnsupportedRuntime */
export function parseManifest(bytes: Uint8Array): Manifest {
  const value = parseJson(bytes, manifestFileName, 'InvalidManifest');
  try {
    return parseInput(manifestSchema, value, manifestFileName);
  } catch (thrown) {
    if (!(thrown instanceof BellowsError)) throw thrown;
    const code = thrown.code === 'UnsupportedRuntime' ? thrown.code : 'InvalidManifest';
    throw new BellowsError(code, `${manifestFileName}: ${thrown.message}`, thrown.hint);
  }
}

/** Reads the manifest of unpacked code. @throws BellowsError InvalidManifest */
export async function readManifest(directory: string): Promise<Manifest> {
  const path = join(directory, manifestFileName);
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) throw await missing(directory);
  if (!stats.isFile())
    throw new BellowsError(
      'InvalidManifest',
      `${manifestFileName} is not a plain file.`,
      'Put the file itself in the archive.',
    );
  if (stats.size > maxManifestBytes) {
    throw new BellowsError(
      'InvalidManifest',
      `${manifestFileName} has more than ${maxManifestBytes} bytes.`,
      'Keep data out of it.',
    );
  }
  return parseManifest(await readFile(path));
}

/** Only the root counts, so that the same bytes are the same files whoever sends them; but the usual slip is named. */
async function missing(directory: string): Promise<BellowsError> {
  const [only, ...others] = await readdir(directory);
  const inside =
    only !== undefined && others.length === 0
      ? await lstat(join(directory, only, manifestFileName)).catch(() => undefined)
      : undefined;
  return inside === undefined
    ? new BellowsError(
        'InvalidManifest',
        `The archive has no ${manifestFileName} at its root.`,
        `Add one, e.g. {"kind":"app","start":"node server.js"}.`,
      )
    : new BellowsError(
        'InvalidManifest',
        `${manifestFileName} lies in ${only}/, not at the archive's root.`,
        'Make the archive from inside that directory: tar -czf ../app.tar.gz .',
      );
}

export function deploymentOf(name: WorkloadName, manifest: Manifest, code: SubmittedCode): Deployment {
  // Only what is named: the rest has the model's defaults.
  const size = resourceKinds.flatMap((kind) =>
    manifest[kind] === undefined ? [] : [[kind, manifest[kind]] as const],
  );
  const base = {
    name,
    runtime: manifest.runtime.name,
    code,
    request: Object.fromEntries(size) as PartialResources,
    env: manifest.env,
    ...(manifest.network === undefined ? {} : { network: manifest.network }),
    ...(manifest.unit === undefined ? {} : { unit: manifest.unit }),
    ...(manifest.tags === undefined ? {} : { tags: manifest.tags }),
  };
  if (manifest.kind === 'app') {
    const { kind, start, scale, directHttp } = manifest;
    return { kind, ...base, start, scale, directHttp };
  }
  return {
    kind: 'function',
    ...base,
    runtimeIdentifier: manifest.runtime.identifier,
    handler: manifest.handler,
    timeoutMs: manifest.timeout * 1_000,
    url: manifest.url !== false,
    ...(typeof manifest.url === 'object' ? { invokeMode: manifest.url.invokeMode } : {}),
    ...(manifest.description === undefined ? {} : { description: manifest.description }),
    ...(manifest.websocket === undefined ? {} : { websocket: webSocketSettingsOf(manifest.websocket) }),
  };
}
