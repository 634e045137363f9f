// An operation of the Lambda API as data. Owns the description's types; serve.ts runs operations.
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { ControlPlane } from '../../controller/control-plane.ts';
import { latestVersion } from '../../model/lambda.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import type { Tenant } from '../../model/tenant.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import { functionNotFound, parseFunctionName } from '../../protocol/lambda/names.ts';
import type { Layout } from '../../sys/layout.ts';
import type { WorkloadName } from '../../base/ids.ts';
import { BellowsError } from '../../base/errors.ts';
import type { CodeLinks } from '../code-link.ts';
import { pathTemplate, type PathTemplate } from '../http/template.ts';
import { parseMembers } from './constraint.ts';

export interface Call<B> {
  readonly control: ControlPlane;
  readonly layout: Layout;
  readonly links: CodeLinks;
  /** Who signed the request. */
  readonly caller: Tenant;
  /** For which region, which answers name in ARNs. */
  readonly region: string;
  readonly request: IncomingMessage;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly body: B;
}

export interface LambdaAnswer {
  readonly status: number;
  /** Absent for 204. */
  readonly body?: Readonly<Record<string, unknown>>;
}

export interface Operation {
  readonly name: string;
  readonly method: string;
  readonly template: PathTemplate;
  readonly limitBytes: number;
  /** @param body the request's JSON, not validated yet */
  readonly run: (call: Call<unknown>) => Promise<LambdaAnswer>;
}

/** What a call without an archive may send; a full environment has 4 KB. */
const smallBodyBytes = 1024 * 1024;

export function operation<B>(spec: {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly limitBytes?: number;
  readonly body: z.ZodType<B>;
  readonly handle: (call: Call<B>) => Promise<LambdaAnswer>;
}): Operation {
  return {
    name: spec.name,
    method: spec.method,
    template: pathTemplate(spec.path),
    limitBytes: spec.limitBytes ?? smallBodyBytes,
    run: (call) => spec.handle({ ...call, body: parseMembers(spec.body, call.body) }),
  };
}

/**
 * The name in the path, for a function of the caller's own.
 * @throws LambdaError ValidationException, AccessDeniedException for another account, ResourceNotFoundException for a version
 */
export function namedFunction(
  { caller, region, params, query }: Pick<Call<unknown>, 'caller' | 'region' | 'params' | 'query'>,
  input = params['FunctionName'],
): WorkloadName {
  const { name, accountId, qualifier } = parseFunctionName(input ?? '', query.get('Qualifier'));
  if (accountId !== null && accountId !== caller.accountId) {
    throw new LambdaError(
      'AccessDeniedException',
      `The access key belongs to account ${caller.accountId}, not to ${accountId}.`,
    );
  }
  if (qualifier !== null && qualifier !== latestVersion) {
    throw functionNotFound(region, caller.accountId, name, qualifier);
  }
  return name;
}

/** @throws LambdaError ResourceNotFoundException: an app of that name is no function either */
export function existingFunction(call: Call<unknown>, name = namedFunction(call)): FunctionWorkload {
  const { control, caller, region } = call;
  try {
    const workload = control.getWorkload(caller.id, name);
    if (workload.kind === 'function') return workload;
  } catch (thrown) {
    if (!(thrown instanceof BellowsError) || thrown.code !== 'NotFound') throw thrown;
  }
  throw functionNotFound(region, caller.accountId, name, null);
}
