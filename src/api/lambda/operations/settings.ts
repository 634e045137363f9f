// What stands beside a function's configuration: reserved concurrency, tags, its URL.
import { z } from 'zod';
import { functionArn } from '../../../model/lambda.ts';
import { urlInvokeModes, type FunctionWorkload, type UrlInvokeMode } from '../../../model/workload.ts';
import { LambdaError } from '../../../protocol/lambda/errors.ts';
import { lambdaTime } from '../configuration.ts';
import { checkTags, tagsMember } from '../members.ts';
import { existingFunction, namedFunction, operation, type Call, type LambdaAnswer } from '../operation.ts';

const nothing = z.unknown();
const concurrencyPath = '/2017-10-31/functions/{FunctionName}/concurrency';
const tagsPath = '/2017-03-31/tags/{Resource}';
const urlPath = '/2021-10-31/functions/{FunctionName}/url';

const concurrencyOperations = [
  operation({
    name: 'PutFunctionConcurrency',
    method: 'PUT',
    path: concurrencyPath,
    body: z.object({ ReservedConcurrentExecutions: z.int().min(0) }),
    handle: async (call) => {
      const { tenant, name } = existingFunction(call);
      const { reservedConcurrency } = await call.control.setReservedConcurrency(
        tenant,
        name,
        call.body.ReservedConcurrentExecutions,
      );
      return { status: 200, body: { ReservedConcurrentExecutions: reservedConcurrency } };
    },
  }),
  operation({
    name: 'GetFunctionConcurrency',
    method: 'GET',
    path: '/2019-09-30/functions/{FunctionName}/concurrency',
    body: nothing,
    handle: async (call) => {
      const { reservedConcurrency } = existingFunction(call);
      return {
        status: 200,
        body: reservedConcurrency === null ? {} : { ReservedConcurrentExecutions: reservedConcurrency },
      };
    },
  }),
  operation({
    name: 'DeleteFunctionConcurrency',
    method: 'DELETE',
    path: concurrencyPath,
    body: nothing,
    handle: async (call) => {
      const { tenant, name } = existingFunction(call);
      await call.control.setReservedConcurrency(tenant, name, null);
      return { status: 204 };
    },
  }),
];

/** @throws LambdaError when the ARN names no function of the caller's */
function taggedFunction(call: Call<unknown>): FunctionWorkload {
  const resource = call.params['Resource'] ?? '';
  if (!resource.startsWith('arn:')) {
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '${resource.slice(0, 256)}' at 'resource' failed to satisfy constraint: ` +
        'Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:lambda:[a-z]{2}((-gov)|(-iso(b?)))?-[a-z]+-\\d{1}:\\d{12}:function:[a-zA-Z0-9-_]+',
    );
  }
  return existingFunction(call, namedFunction(call, resource));
}

const tagOperations = [
  operation({
    name: 'ListTags',
    method: 'GET',
    path: tagsPath,
    body: nothing,
    handle: async (call) => ({ status: 200, body: { Tags: taggedFunction(call).tags } }),
  }),
  operation({
    name: 'TagResource',
    method: 'POST',
    path: tagsPath,
    body: z.object({ Tags: tagsMember }),
    handle: async (call) => {
      const { tenant, name, tags } = taggedFunction(call);
      await call.control.setTags(tenant, name, checkTags({ ...tags, ...call.body.Tags }));
      return { status: 204 };
    },
  }),
  operation({
    name: 'UntagResource',
    method: 'DELETE',
    path: tagsPath,
    body: nothing,
    handle: async (call) => {
      const { tenant, name, tags } = taggedFunction(call);
      const gone = new Set(call.query.getAll('tagKeys'));
      await call.control.setTags(
        tenant,
        name,
        Object.fromEntries(Object.entries(tags).filter(([key]) => !gone.has(key))),
      );
      return { status: 204 };
    },
  }),
];

const urlMembers = z.object({
  AuthType: z.enum(['NONE', 'AWS_IAM']),
  InvokeMode: z.enum(urlInvokeModes).optional(),
  Cors: z.record(z.string(), z.unknown()).optional(),
});
/** What is not named stays as it is. */
const urlUpdate = urlMembers.partial();

/** @throws LambdaError InvalidParameterValueException */
function refuseUrlOptions(members: z.infer<typeof urlUpdate>): void {
  const refuse = (what: string): LambdaError =>
    new LambdaError(
      'InvalidParameterValueException',
      `${what} is not supported for function URLs by this Bellows.`,
    );
  if (members.AuthType === 'AWS_IAM') throw refuse(`AuthType ${members.AuthType}`);
  if (Object.keys(members.Cors ?? {}).length > 0) throw refuse('Cors');
}

/** On the host and port that the caller itself uses; by path when the name can not stand in a host's name. */
function functionUrl({ request }: Call<unknown>, { tenant, name, key }: FunctionWorkload): string {
  const host = request.headers.host ?? 'localhost';
  if (!/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/i.test(name)) return `http://${host}/w/${key}/`;
  const port = /:\d+$/.exec(host)?.[0] ?? '';
  return `http://${name.toLowerCase()}.${tenant}.localhost${port}/`;
}

function urlConfiguration(call: Call<unknown>, workload: FunctionWorkload): Record<string, unknown> {
  return {
    FunctionUrl: functionUrl(call, workload),
    FunctionArn: functionArn(call.region, call.caller.accountId, workload.name),
    AuthType: 'NONE',
    InvokeMode: workload.invokeMode ?? 'BUFFERED',
    CreationTime: lambdaTime(workload.createdAtMs),
    LastModifiedTime: lambdaTime(workload.modifiedAtMs),
  };
}

/** @throws LambdaError ResourceNotFoundException when it has none */
function withUrl(call: Call<unknown>): FunctionWorkload {
  const workload = existingFunction(call);
  if (workload.url) return workload;
  throw new LambdaError('ResourceNotFoundException', `The function ${workload.name} has no function URL.`);
}

async function setUrl(
  call: Call<unknown>,
  workload: FunctionWorkload,
  url: boolean,
  invokeMode: UrlInvokeMode,
): Promise<FunctionWorkload> {
  return await call.control.updateFunction(workload.tenant, workload.name, { url, invokeMode });
}

const urlOperations = [
  operation({
    name: 'CreateFunctionUrlConfig',
    method: 'POST',
    path: urlPath,
    body: urlMembers,
    handle: async (call): Promise<LambdaAnswer> => {
      const workload = existingFunction(call);
      refuseUrlOptions(call.body);
      if (workload.url) {
        throw new LambdaError(
          'ResourceConflictException',
          `Failed to create function url config for [functionArn = ${functionArn(call.region, call.caller.accountId, workload.name)}]. Error message:  FunctionUrlConfig exists for this Lambda function`,
        );
      }
      const made = await setUrl(call, workload, true, call.body.InvokeMode ?? 'BUFFERED');
      return { status: 201, body: urlConfiguration(call, made) };
    },
  }),
  operation({
    name: 'GetFunctionUrlConfig',
    method: 'GET',
    path: urlPath,
    body: nothing,
    handle: async (call) => ({ status: 200, body: urlConfiguration(call, withUrl(call)) }),
  }),
  operation({
    name: 'UpdateFunctionUrlConfig',
    method: 'PUT',
    path: urlPath,
    body: urlUpdate,
    handle: async (call): Promise<LambdaAnswer> => {
      const workload = withUrl(call);
      refuseUrlOptions(call.body);
      const mode = call.body.InvokeMode ?? workload.invokeMode ?? 'BUFFERED';
      return { status: 200, body: urlConfiguration(call, await setUrl(call, workload, true, mode)) };
    },
  }),
  operation({
    name: 'DeleteFunctionUrlConfig',
    method: 'DELETE',
    path: urlPath,
    body: nothing,
    handle: async (call) => {
      await setUrl(call, withUrl(call), false, 'BUFFERED');
      return { status: 204 };
    },
  }),
];

export const settingOperations = [...concurrencyOperations, ...tagOperations, ...urlOperations];
