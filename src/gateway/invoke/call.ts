// What a caller of Lambda's Invoke operations asks for: who calls, which function, with which event and context; and errors in
// AWS's shape. Owns reading and refusing. Does not own what is done with it (handle.ts).
import { functionArn, latestVersion } from '../../model/lambda.ts';
import { LambdaError, lambdaErrorAnswer } from '../../protocol/lambda/errors.ts';
import { functionNotFound, parseFunctionName } from '../../protocol/lambda/names.ts';
import type { TenantRoute } from '../../protocol/routes.ts';
import { workloadKey } from '../../base/ids.ts';
import { payloadLimits } from '../config.ts';
import type { Answer, FunctionRequest } from '../exchange.ts';
import type { FunctionPool } from './function-pool.ts';
import type { Functions } from './functions.ts';

export type InvocationType = 'RequestResponse' | 'Event' | 'DryRun';

/** @throws LambdaError when it is none of `known` */
export function readType(request: FunctionRequest, known: readonly InvocationType[]): InvocationType {
  const given = request.headers.get('x-amz-invocation-type') ?? 'RequestResponse';
  const type = known.find((each) => each === given);
  if (type === undefined) {
    throw new LambdaError(
      'InvalidParameterValueException',
      `Unsupported invocation type ${JSON.stringify(given)}; use ${known.join(', ')}.`,
    );
  }
  return type;
}

/**
 * @param functionName the path's part, still percent-encoded
 * @throws LambdaError when the caller has no such function
 */
export function findFunction(
  request: FunctionRequest,
  functionName: string,
  functions: Functions,
  tenant: TenantRoute,
  region: string,
): FunctionPool {
  const queryAt = request.url.indexOf('?');
  // Rare enough that the common call does not pay for a parser of queries.
  const given = queryAt < 0 ? null : new URLSearchParams(request.url.slice(queryAt + 1)).get('Qualifier');
  let decoded = functionName;
  try {
    decoded = decodeURIComponent(functionName);
  } catch {
    // Not valid: it then fits no name either.
  }
  const { name, accountId, qualifier } = parseFunctionName(decoded, given);
  if (accountId !== null && accountId !== tenant.accountId) {
    throw new LambdaError(
      'AccessDeniedException',
      `User: arn:aws:iam::${tenant.accountId}:root is not authorized to perform: lambda:InvokeFunction on resource: ` +
        `${functionArn(region, accountId, name)} because no resource-based policy allows the lambda:InvokeFunction action`,
    );
  }
  const pool = functions.pool(workloadKey(tenant.id, name));
  if (pool === undefined || (qualifier !== null && qualifier !== latestVersion)) {
    throw functionNotFound(region, tenant.accountId, name, qualifier);
  }
  return pool;
}

/** The event as it is sent on; nothing becomes an empty object, as AWS does. @throws LambdaError when it is no JSON */
export function checkEvent(bytes: Buffer): Buffer {
  if (bytes.length === 0) return emptyEvent;
  try {
    JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new LambdaError(
      'InvalidRequestContentException',
      `Could not parse request body into json: ${error instanceof Error ? error.message : ''}`,
    );
  }
  return bytes;
}
const emptyEvent = Buffer.from('{}');

/** JSON, or empty when there is none. @throws LambdaError */
export function readClientContext(request: FunctionRequest): string {
  const header = request.headers.get('x-amz-client-context');
  if (header === undefined) return '';
  if (header.length > payloadLimits.clientContextBytes) {
    throw new LambdaError(
      'InvalidRequestContentException',
      `Client context must be at most ${payloadLimits.clientContextBytes} bytes.`,
    );
  }
  const text = Buffer.from(header, 'base64').toString('utf8');
  try {
    const context: unknown = JSON.parse(text);
    if (typeof context === 'object' && context !== null) return text;
  } catch {
    // Answered below.
  }
  throw new LambdaError(
    'InvalidRequestContentException',
    'Client context must be a valid Base64-encoded JSON object.',
  );
}

const endsConnection: ReadonlySet<string> = new Set(['RequestTooLargeException', 'RequestTimeoutException']);

export function sendLambdaError(response: Answer, error: LambdaError, requestId: string): void {
  if (response.destroyed || response.headersSent) return;
  const { status, headers, body } = lambdaErrorAnswer(error, requestId);
  // A body that was not read to its end would be taken for the next request.
  const closing = endsConnection.has(error.type) ? ['Connection', 'close'] : [];
  response.writeHead(status, [
    ...Object.entries(headers).flat(),
    ...closing,
    'Content-Length',
    String(Buffer.byteLength(body)),
  ]);
  response.end(body);
}
