// Runs the operations of the Lambda API: finds one, verifies who calls, reads the body, answers in AWS's shape.
// Invoke is not here: the gateway answers it by itself. Owns no operation's meaning.
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { ControlPlane } from '../../controller/control-plane.ts';
import { LambdaError, lambdaErrorAnswer } from '../../protocol/lambda/errors.ts';
import { SignatureVerifier } from '../../protocol/sigv4.ts';
import type { Layout } from '../../sys/layout.ts';
import type { Logger } from '../../sys/log.ts';
import type { CodeLinks } from '../code-link.ts';
import type { Answer } from '../http/answer.ts';
import type { BodyReader } from '../http/body.ts';
import { matchPath, pathSegments } from '../http/template.ts';
import { toLambdaError } from './failure.ts';
import type { Operation } from './operation.ts';
import { functionOperations } from './operations/functions.ts';
import { settingOperations } from './operations/settings.ts';

const operations: readonly Operation[] = [...functionOperations, ...settingOperations];

/** Every path of the Lambda API begins with the date of its version. */
export function isLambdaPath(path: string): boolean {
  return /^\/20\d\d-\d\d-\d\d\//.test(path);
}

export interface LambdaOptions {
  readonly control: ControlPlane;
  readonly layout: Layout;
  readonly bodies: BodyReader;
  readonly links: CodeLinks;
  readonly clock: Clock;
  readonly log: Logger;
}

type Handler = (request: IncomingMessage, path: string, search: string, requestId: string) => Promise<Answer>;

/** A handler for Lambda's paths. It never rejects: errors are part of the protocol. */
export function lambdaHandler(options: LambdaOptions): Handler {
  const { control, layout, bodies, links, log } = options;
  const verifier = new SignatureVerifier({
    service: 'lambda',
    nowMs: options.clock.nowMs,
    credentialOf: (accessKeyId) => {
      const tenant = control.tenantByAccessKey(accessKeyId);
      return tenant === undefined
        ? undefined
        : { tenant, secretAccessKey: tenant.credentials.secretAccessKey };
    },
  });

  const run = async (request: IncomingMessage, search: string, found: Found): Promise<Answer> =>
    await bodies.with(request, found.operation.limitBytes, async (bytes) => {
      const { credential, region } = verifier.verify({
        method: request.method ?? '',
        url: request.url ?? '',
        rawHeaders: request.rawHeaders,
        body: bytes,
      });
      const { status, body } = await found.operation.run({
        control,
        layout,
        links,
        caller: credential.tenant,
        region,
        request,
        params: found.params,
        query: new URLSearchParams(search),
        body: parseBody(bytes),
      });
      return body === undefined ? { status: 204 } : { status, json: body };
    });

  return async (request, path, search, requestId) => {
    const found = findOperation(request.method ?? '', path);
    try {
      if (found === undefined)
        throw new LambdaError(
          'UnknownOperationException',
          `${request.method} ${path.slice(0, 200)} is no operation of this Bellows.`,
        );
      const answer = await run(request, search, found);
      return 'stream' in answer ? answer : { ...answer, headers: { 'x-amzn-RequestId': requestId } };
    } catch (thrown) {
      if (!(thrown instanceof LambdaError || thrown instanceof BellowsError)) {
        log.error({ err: thrown, requestId, operation: found?.operation.name }, 'a Lambda call failed');
      }
      const { status, headers, body } = lambdaErrorAnswer(
        toLambdaError(thrown, found?.operation.name ?? ''),
        requestId,
      );
      return { status, bytes: body, mediaType: 'application/json', headers };
    }
  };
}

interface Found {
  readonly operation: Operation;
  readonly params: Record<string, string>;
}

function findOperation(method: string, path: string): Found | undefined {
  // Some SDKs end the path of a collection with a slash.
  const segments = pathSegments(path.replace(/\/$/, ''));
  if (segments === undefined) return undefined;
  for (const operation of operations) {
    if (operation.method !== method) continue;
    const params = matchPath(operation.template, segments);
    if (params !== undefined) return { operation, params };
  }
  return undefined;
}

/** @throws LambdaError SerializationException */
function parseBody(bytes: Buffer): unknown {
  if (bytes.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new LambdaError('SerializationException', 'Could not parse request body into json.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LambdaError('SerializationException', 'The request body must be a JSON object.');
  }
  // AWS takes null for "not given".
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}
