// /v1/workloads: deploy, read, resize live, invoke, remove, and the logs.
import { z } from 'zod';
import { BellowsError } from '../../../base/errors.ts';
import { workloadKey, type TenantId, type WorkloadName } from '../../../base/ids.ts';
import { mib } from '../../../base/quantity.ts';
import { unitKinds } from '../../../model/unit-kind.ts';
import type { ControlPlane } from '../../../controller/control-plane.ts';
import { admitArchive, archiveTooLarge } from '../../archive/admit.ts';
import { maxArchiveBytes } from '../../archive/limits.ts';
import {
  changeQuery,
  countField,
  instanceSizeFields,
  noQuery,
  scaleField,
  tenantField,
  workloadNameField,
} from '../fields.ts';
import { deploymentOf, readManifest } from '../manifest.ts';
import { parseJson } from '../invalid.ts';
import { bytesBody, jsonBody, noBody, route, type BodySpec } from '../route.ts';
import { transactionReply, transactionStatuses, transactionView } from '../views/transaction.ts';
import { logsView, movedWorkloadView, showLogs, showWorkload, workloadView } from '../views/workload.ts';

const tag = 'workloads';
const workloadPath = z.strictObject({ tenant: tenantField, name: workloadNameField });

const resizeBody = z
  .strictObject({ ...instanceSizeFields, scale: scaleField.optional() })
  .refine(
    (change) => Object.keys(change).length > 0,
    'name at least one of memory, cpu, storage, bandwidth and scale',
  );

const moveBody = z.strictObject({
  to: z.enum(unitKinds, `name where to: ${unitKinds.join(' or ')}`),
});

/** Lambda's largest event. */
const maxEventBytes = 6 * mib;

const eventBody: BodySpec<string> = {
  mediaTypes: ['application/json'],
  limitBytes: maxEventBytes,
  schema: z.unknown(),
  required: false,
  parse: (bytes) => (bytes.length === 0 ? '{}' : JSON.stringify(parseJson(bytes, 'The event'))),
};

const maxLogEntries = 10_000;
const defaultLogEntries = 1_000;
const maxLogWaitSeconds = 60;

const logsQuery = z.strictObject({
  cursor: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .meta({ description: 'Where an earlier answer ended; from the end of what is kept when absent.' }),
  limit: countField('limit', maxLogEntries),
  wait: countField('wait', maxLogWaitSeconds).meta({
    description: 'Seconds to wait for a new line when there is none.',
  }),
});

const invocationView = z
  .object({
    outcome: z.enum(['ok', 'functionError']),
    payload: z.unknown().meta({ description: "The function's result, or its error." }),
  })
  .meta({ id: 'Invocation' });

function isThere(control: ControlPlane, tenant: TenantId, name: WorkloadName): boolean {
  try {
    control.getWorkload(tenant, name);
    return true;
  } catch (thrown) {
    if (thrown instanceof BellowsError && thrown.code === 'NotFound') return false;
    throw thrown;
  }
}

/** A function may return what is no JSON; then it is shown as text. */
function jsonOrText(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}

export const workloadRoutes = [
  route({
    operationId: 'listWorkloads',
    method: 'GET',
    path: '/v1/workloads',
    tag,
    summary: 'All workloads.',
    params: z.strictObject({}),
    query: noQuery,
    body: noBody,
    answer: z.array(workloadView),
    statuses: { 200: 'The workloads.' },
    handle: async ({ control }) => ({
      status: 200,
      body: control.listWorkloads().map((workload) => showWorkload(control, workload)),
    }),
  }),
  route({
    operationId: 'listTenantWorkloads',
    method: 'GET',
    path: '/v1/workloads/{tenant}',
    tag,
    summary: "A tenant's workloads.",
    params: z.strictObject({ tenant: tenantField }),
    query: noQuery,
    body: noBody,
    answer: z.array(workloadView),
    statuses: { 200: 'The workloads.' },
    handle: async ({ control }, { params }) => {
      control.getTenant(params.tenant);
      return {
        status: 200,
        body: control.listWorkloads(params.tenant).map((workload) => showWorkload(control, workload)),
      };
    },
  }),
  route({
    operationId: 'putWorkload',
    method: 'PUT',
    path: '/v1/workloads/{tenant}/{name}',
    tag,
    summary: 'Deploys a zip or tar.gz that holds bellows.json at its root; answers when the new code serves.',
    params: workloadPath,
    query: noQuery,
    body: bytesBody({
      mediaTypes: ['application/zip', 'application/gzip', 'application/octet-stream'],
      limitBytes: maxArchiveBytes,
      tooLarge: archiveTooLarge,
    }),
    answer: workloadView,
    statuses: { 200: 'Replaced.', 201: 'Created.' },
    handle: async ({ control, layout }, { params: { tenant, name }, body }) => {
      control.getTenant(tenant);
      const replaces = isThere(control, tenant, name);
      const { code, inspected } = await admitArchive({ control, layout }, tenant, body, readManifest);
      const workload = await control.deploy(tenant, deploymentOf(name, inspected, code), {
        mustCreate: false,
      });
      return { status: replaces ? 200 : 201, body: showWorkload(control, workload) };
    },
  }),
  route({
    operationId: 'getWorkload',
    method: 'GET',
    path: '/v1/workloads/{tenant}/{name}',
    tag,
    summary: 'One workload.',
    params: workloadPath,
    query: noQuery,
    body: noBody,
    answer: workloadView,
    statuses: { 200: 'The workload.' },
    handle: async ({ control }, { params }) => ({
      status: 200,
      body: showWorkload(control, control.getWorkload(params.tenant, params.name)),
    }),
  }),
  route({
    operationId: 'resizeWorkload',
    method: 'PATCH',
    path: '/v1/workloads/{tenant}/{name}',
    tag,
    summary: 'Resizes every instance live, and scales an app. Nothing restarts and no connection is dropped.',
    params: workloadPath,
    query: changeQuery,
    body: jsonBody(resizeBody),
    answer: transactionView,
    statuses: transactionStatuses,
    handle: async ({ control }, { params, query, body: { scale, ...size } }) =>
      transactionReply(
        await control.resizeWorkload(
          params.tenant,
          params.name,
          scale === undefined ? size : { ...size, scale },
          { plan: query.plan, waitMs: query.wait },
        ),
      ),
  }),
  route({
    operationId: 'moveWorkload',
    method: 'POST',
    path: '/v1/workloads/{tenant}/{name}/move',
    tag,
    summary:
      'Has its instances run elsewhere: on this machine, or in virtual machines. One is started there, then it takes over; no call, message or held connection is lost, and when it can not it goes on where it is.',
    params: workloadPath,
    query: noQuery,
    body: jsonBody(moveBody),
    answer: movedWorkloadView,
    statuses: { 200: 'An instance serves there, and what comes goes to it.' },
    handle: async ({ control }, { params: { tenant, name }, body: { to } }) => ({
      status: 200,
      body: { workload: workloadKey(tenant, name), ...(await control.moveWorkload(tenant, name, to)) },
    }),
  }),
  route({
    operationId: 'deleteWorkload',
    method: 'DELETE',
    path: '/v1/workloads/{tenant}/{name}',
    tag,
    summary: 'Ends its instances and removes it.',
    params: workloadPath,
    query: noQuery,
    body: noBody,
    answer: z.null(),
    statuses: { 204: 'Gone.' },
    handle: async ({ control }, { params }) => {
      await control.deleteWorkload(params.tenant, params.name);
      return { status: 204, body: null };
    },
  }),
  route({
    operationId: 'invokeWorkload',
    method: 'POST',
    path: '/v1/workloads/{tenant}/{name}/invoke',
    tag,
    summary: 'Runs a function once with the body as its event, and waits for its result.',
    params: workloadPath,
    query: noQuery,
    body: eventBody,
    answer: invocationView,
    statuses: { 200: 'It ran; the outcome says how it ended.' },
    handle: async ({ control }, { params: { tenant, name }, body }) => {
      const workload = control.getWorkload(tenant, name);
      if (workload.kind !== 'function') {
        throw new BellowsError(
          'BadRequest',
          `${workload.key} is an app, not a function.`,
          `Send it requests at /w/${workload.key}/.`,
        );
      }
      const { outcome, payload } = await control.invoke(workload, body);
      if (outcome === 'throttled') {
        throw new BellowsError(
          'LimitReached',
          `${workload.key} runs as often as it may at once. ${payload}`,
          "Try again, or raise the tenant's concurrency.",
        );
      }
      if (outcome === 'unavailable')
        throw new BellowsError('Unavailable', `${workload.key} could not be run now.`, 'Try again.');
      return { status: 200, body: { outcome, payload: jsonOrText(payload) } };
    },
  }),
  route({
    operationId: 'getLogs',
    method: 'GET',
    path: '/v1/workloads/{tenant}/{name}/logs',
    tag,
    summary: 'Log lines, oldest first; with `wait`, as a long poll.',
    params: workloadPath,
    query: logsQuery,
    body: noBody,
    answer: logsView,
    statuses: { 200: 'The lines, and the cursor to read on from.' },
    handle: async ({ control }, { params, query }) => {
      const { key } = control.getWorkload(params.tenant, params.name);
      const logs = await control.readLogs(key, {
        cursor: query.cursor ?? null,
        limit: query.limit ?? defaultLogEntries,
        waitMs: (query.wait ?? 0) * 1_000,
      });
      return { status: 200, body: showLogs(logs) };
    },
  }),
];
