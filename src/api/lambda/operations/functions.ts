// Functions: create, read, list, change, delete.
import { z } from 'zod';
import { BellowsError } from '../../../base/errors.ts';
import type { FunctionUpdate } from '../../../controller/control-plane.ts';
import type { FunctionWorkload } from '../../../model/workload.ts';
import { LambdaError } from '../../../protocol/lambda/errors.ts';
import { admitCode, checkCode, codeMembers, codeRequestBytes, zipOf } from '../code.ts';
import { base64OfHex, functionConfiguration } from '../configuration.ts';
import {
  checkTags,
  configurationMembers,
  environmentOf,
  refuseUnsupported,
  roleMember,
  runtimeOf,
  sizeOf,
  tagsMember,
} from '../members.ts';
import { existingFunction, namedFunction, operation, type Call } from '../operation.ts';

const functionsPath = '/2015-03-31/functions';
const functionPath = `${functionsPath}/{FunctionName}`;
const nothing = z.unknown();

/** Lambda's default, in seconds. */
const defaultTimeoutSeconds = 3;
/** Most functions in one page of a list, whatever the caller asks for: Lambda's own bound. */
const maxPage = 50;

const architectures = z
  .array(z.enum(['x86_64', 'arm64']))
  .max(1)
  .optional();
const packageType = z.enum(['Zip', 'Image']).optional();
const versionMembers = { Publish: z.boolean().optional(), PublishTo: z.string().optional() };

function required(value: string | undefined, name: string): string {
  if (value !== undefined) return value;
  throw new LambdaError(
    'InvalidParameterValueException',
    `${name} is mandatory for functions created with deployment packages.`,
  );
}

function alreadyExists(name: string): LambdaError {
  return new LambdaError('ResourceConflictException', `Function already exist: ${name}`);
}

const revisionMismatch =
  'The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the latest RevisionId';

async function update(
  call: Call<unknown>,
  workload: FunctionWorkload,
  change: FunctionUpdate,
): Promise<FunctionWorkload> {
  try {
    return await call.control.updateFunction(workload.tenant, workload.name, change);
  } catch (thrown) {
    if (
      thrown instanceof BellowsError &&
      thrown.code === 'Conflict' &&
      change.expectedRevision !== undefined
    ) {
      throw new LambdaError('PreconditionFailedException', revisionMismatch);
    }
    throw thrown;
  }
}

const createFunction = operation({
  name: 'CreateFunction',
  method: 'POST',
  path: functionsPath,
  limitBytes: codeRequestBytes,
  body: z.object({
    FunctionName: z.string(),
    Role: roleMember,
    Code: z.object(codeMembers),
    PackageType: packageType,
    Architectures: architectures,
    Tags: tagsMember.optional(),
    ...versionMembers,
    ...configurationMembers,
  }),
  handle: async (call) => {
    const { control, caller, body } = call;
    const name = namedFunction(call, body.FunctionName);
    if (body.PackageType === 'Image') {
      throw new LambdaError(
        'InvalidParameterValueException',
        'Container images are not supported by this Bellows. Use PackageType Zip.',
      );
    }
    refuseUnsupported(body);
    const runtime = runtimeOf(required(body.Runtime, 'Runtime'));
    const handler = required(body.Handler, 'Handler');
    const env = environmentOf(body.Environment ?? {});
    const tags = checkTags(body.Tags ?? {});
    const zip = zipOf(body.Code);
    if (control.listWorkloads(caller.id).some((workload) => workload.name === name))
      throw alreadyExists(name);
    const code = await admitCode(call, zip);
    const workload = await control
      .deploy(
        caller.id,
        {
          kind: 'function',
          name,
          ...runtime,
          handler,
          code,
          env,
          tags,
          role: body.Role,
          region: call.region,
          timeoutMs: (body.Timeout ?? defaultTimeoutSeconds) * 1_000,
          request: sizeOf(body),
          ...(body.Description === undefined ? {} : { description: body.Description }),
        },
        { mustCreate: true },
      )
      .catch((thrown: unknown) => {
        throw thrown instanceof BellowsError && thrown.code === 'Conflict' ? alreadyExists(name) : thrown;
      });
    if (workload.kind !== 'function') throw alreadyExists(name);
    return { status: 201, body: functionConfiguration(call, workload) };
  },
});

const getFunction = operation({
  name: 'GetFunction',
  method: 'GET',
  path: functionPath,
  body: nothing,
  handle: async (call) => {
    const workload = existingFunction(call);
    const { reservedConcurrency, tags } = workload;
    return {
      status: 200,
      body: {
        Configuration: functionConfiguration(call, workload),
        Code: { RepositoryType: 'S3', Location: call.links.urlOf(workload, call.request) },
        ...(Object.keys(tags).length === 0 ? {} : { Tags: tags }),
        ...(reservedConcurrency === null
          ? {}
          : { Concurrency: { ReservedConcurrentExecutions: reservedConcurrency } }),
      },
    };
  },
});

const getFunctionConfiguration = operation({
  name: 'GetFunctionConfiguration',
  method: 'GET',
  path: `${functionPath}/configuration`,
  body: nothing,
  handle: async (call) => ({ status: 200, body: functionConfiguration(call, existingFunction(call)) }),
});

/** A page's size from the query. @throws LambdaError ValidationException */
function maxItemsOf(query: URLSearchParams): number {
  const text = query.get('MaxItems');
  if (text === null) return maxPage;
  const count = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= 10_000) return Math.min(count, maxPage);
  const constraint = count === 0 ? 'greater than or equal to 1' : 'less than or equal to 10000';
  throw new LambdaError(
    'ValidationException',
    `1 validation error detected: Value '${text.slice(0, 40)}' at 'maxItems' failed to satisfy constraint: Member must have value ${constraint}`,
  );
}

/** The name that a page starts after. @throws LambdaError InvalidParameterValueException when no page ended so */
function markerOf(query: URLSearchParams): string {
  const marker = query.get('Marker') ?? '';
  const name = Buffer.from(marker, 'base64url').toString();
  // Decoding takes anything: only what we gave out comes back the same, and holds a name.
  const isOurs = Buffer.from(name).toString('base64url') === marker && /^[a-zA-Z0-9_-]{0,64}$/.test(name);
  if (isOurs) return name;
  throw new LambdaError(
    'InvalidParameterValueException',
    `Invalid Marker ${JSON.stringify(marker.slice(0, 40))}: give back the NextMarker of the page before.`,
  );
}

const listFunctions = operation({
  name: 'ListFunctions',
  method: 'GET',
  path: functionsPath,
  body: nothing,
  handle: async (call) => {
    const { control, caller, query } = call;
    const maxItems = maxItemsOf(query);
    // The marker is the last name of the page before, so that pages hold when functions come and go between them.
    const after = markerOf(query);
    const functions = control
      .listWorkloads(caller.id)
      .filter(
        (workload): workload is FunctionWorkload => workload.kind === 'function' && workload.name > after,
      )
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const page = functions.slice(0, maxItems);
    const last = page.at(-1);
    return {
      status: 200,
      body: {
        Functions: page.map((workload) => functionConfiguration(call, workload)),
        ...(last !== undefined && functions.length > page.length
          ? { NextMarker: Buffer.from(last.name).toString('base64url') }
          : {}),
      },
    };
  },
});

const listVersions = operation({
  name: 'ListVersionsByFunction',
  method: 'GET',
  path: `${functionPath}/versions`,
  body: nothing,
  handle: async (call) => ({
    status: 200,
    body: { Versions: [functionConfiguration(call, existingFunction(call))] },
  }),
});

const updateFunctionCode = operation({
  name: 'UpdateFunctionCode',
  method: 'PUT',
  path: `${functionPath}/code`,
  limitBytes: codeRequestBytes,
  body: z.object({
    ...codeMembers,
    ...versionMembers,
    DryRun: z.boolean().optional(),
    RevisionId: z.string().optional(),
    Architectures: architectures,
  }),
  handle: async (call) => {
    const { body } = call;
    const workload = existingFunction(call);
    refuseUnsupported(body);
    const zip = zipOf(body);
    if (body.RevisionId !== undefined && body.RevisionId !== workload.revisionId) {
      throw new LambdaError('PreconditionFailedException', revisionMismatch);
    }
    if (body.DryRun === true) {
      const { sha256, sizeBytes } = await checkCode(call, zip);
      const present = functionConfiguration(call, workload);
      return { status: 200, body: { ...present, CodeSha256: base64OfHex(sha256), CodeSize: sizeBytes } };
    }
    const code = await admitCode(call, zip);
    const expected = body.RevisionId === undefined ? {} : { expectedRevision: body.RevisionId };
    return {
      status: 200,
      body: functionConfiguration(call, await update(call, workload, { code, ...expected })),
    };
  },
});

const updateFunctionConfiguration = operation({
  name: 'UpdateFunctionConfiguration',
  method: 'PUT',
  path: `${functionPath}/configuration`,
  body: z.object({ Role: roleMember.optional(), RevisionId: z.string().optional(), ...configurationMembers }),
  handle: async (call) => {
    const { body } = call;
    const workload = existingFunction(call);
    refuseUnsupported(body);
    const request = sizeOf(body);
    const change: FunctionUpdate = {
      ...(body.Handler === undefined ? {} : { handler: body.Handler }),
      ...(body.Runtime === undefined ? {} : runtimeOf(body.Runtime)),
      ...(body.Timeout === undefined ? {} : { timeoutMs: body.Timeout * 1_000 }),
      ...(body.Description === undefined ? {} : { description: body.Description }),
      ...(body.Role === undefined ? {} : { role: body.Role }),
      ...(body.Environment === undefined ? {} : { env: environmentOf(body.Environment) }),
      ...(Object.keys(request).length === 0 ? {} : { request }),
      ...(body.RevisionId === undefined ? {} : { expectedRevision: body.RevisionId }),
    };
    return { status: 200, body: functionConfiguration(call, await update(call, workload, change)) };
  },
});

const deleteFunction = operation({
  name: 'DeleteFunction',
  method: 'DELETE',
  path: functionPath,
  body: nothing,
  handle: async (call) => {
    const { tenant, name } = existingFunction(call);
    await call.control.deleteWorkload(tenant, name);
    return { status: 204 };
  },
});

export const functionOperations = [
  createFunction,
  getFunction,
  getFunctionConfiguration,
  listFunctions,
  listVersions,
  updateFunctionCode,
  updateFunctionConfiguration,
  deleteFunction,
];
