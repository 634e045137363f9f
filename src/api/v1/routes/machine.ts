// What runs, where, and what it has: instances, units, the ledger, and taking back what lies idle.
import { z } from 'zod';
import {
  parseTenantId,
  parseWorkloadName,
  workloadKey,
  type InstanceId,
  type TenantId,
  type WorkloadKey,
} from '../../../base/ids.ts';
import { unitId } from '../../../protocol/schemas.ts';
import { noQuery, planQuery, quantityField } from '../fields.ts';
import { parsedBy } from '../invalid.ts';
import { jsonBody, noBody, route } from '../route.ts';
import { instanceView, showInstance } from '../views/instance.ts';
import {
  gatewayView,
  hibernationView,
  ledgerLineView,
  moveView,
  reclaimView,
  showGateway,
  showHibernation,
  showLedgerLine,
  showMove,
  showReclaim,
  showUnit,
  unitView,
} from '../views/machine.ts';

const tag = 'machine';
const noParams = z.strictObject({});
const unitParams = z.strictObject({ unit: unitId });

/** A tenant, an instance (its ids are fit to be tenants' names) or `TENANT/NAME`; the controller knows which there is. */
function parseOwner(text: string): TenantId | InstanceId | WorkloadKey {
  const [tenant, name, ...more] = text.split('/');
  if (name === undefined) return parseTenantId(tenant);
  return workloadKey(parseTenantId(tenant), parseWorkloadName([name, ...more].join('/')));
}

const reclaimBody = z.strictObject({
  memory: quantityField('memory').optional(),
  from: z
    .string()
    .transform(parsedBy(parseOwner))
    .optional()
    .meta({ description: 'A tenant, TENANT/NAME, or an instance; from whoever is idle when absent.' }),
});

export const machineRoutes = [
  route({
    operationId: 'listInstances',
    method: 'GET',
    path: '/v1/instances',
    tag,
    summary: 'Everything that runs, and for each resource its demand, grant, use and what was claimed.',
    params: noParams,
    query: noQuery,
    body: noBody,
    answer: z.array(instanceView),
    statuses: { 200: 'The instances.' },
    handle: async ({ control }) => ({ status: 200, body: (await control.instances()).map(showInstance) }),
  }),
  route({
    operationId: 'listUnits',
    method: 'GET',
    path: '/v1/units',
    tag,
    summary: 'The units that instances run in.',
    params: noParams,
    query: noQuery,
    body: noBody,
    answer: z.array(unitView),
    statuses: { 200: 'The units.' },
    handle: async ({ control }) => ({ status: 200, body: (await control.units()).map(showUnit) }),
  }),
  route({
    operationId: 'listGateways',
    method: 'GET',
    path: '/v1/gateways',
    tag,
    summary:
      'The processes that clients are connected to: those that serve, and those that were replaced and finish what they carry.',
    params: noParams,
    query: noQuery,
    body: noBody,
    answer: z.array(gatewayView),
    statuses: { 200: 'The gateways.' },
    handle: async ({ control }) => ({ status: 200, body: (await control.gateways()).map(showGateway) }),
  }),
  route({
    operationId: 'hibernateUnit',
    method: 'POST',
    path: '/v1/units/{unit}/hibernate',
    tag,
    summary:
      'Puts a virtual machine on disk with all that runs in it: its memory is others’, connections into it stay. It wakes when one of them has something to say.',
    params: unitParams,
    query: noQuery,
    body: noBody,
    answer: hibernationView,
    statuses: { 200: 'It is on disk.' },
    handle: async ({ control }, { params: { unit } }) => ({
      status: 200,
      body: showHibernation(unit, await control.hibernateUnit(unit)),
    }),
  }),
  route({
    operationId: 'wakeUnit',
    method: 'POST',
    path: '/v1/units/{unit}/wake',
    tag,
    summary: 'Has a hibernated virtual machine run again; nothing happens to one that runs.',
    params: unitParams,
    query: noQuery,
    body: noBody,
    answer: z.object({ unit: z.string(), durationMs: z.number() }),
    statuses: { 200: 'It runs.' },
    handle: async ({ control }, { params: { unit } }) => ({
      status: 200,
      body: { unit, ...(await control.wakeUnit(unit)) },
    }),
  }),
  route({
    operationId: 'moveUnit',
    method: 'POST',
    path: '/v1/units/{unit}/move',
    tag,
    summary:
      'Has a virtual machine go on in a second process with all that runs in it; connections into it stay. When it can not it goes on where it is.',
    params: unitParams,
    query: noQuery,
    body: noBody,
    answer: moveView,
    statuses: { 200: 'It runs in the second, and the first is gone.' },
    handle: async ({ control }, { params: { unit } }) => ({
      status: 200,
      body: showMove(unit, await control.moveUnit(unit)),
    }),
  }),
  route({
    operationId: 'getLedger',
    method: 'GET',
    path: '/v1/ledger',
    tag,
    summary: 'Capacity, granted, used and claimed of each resource, and by whom.',
    params: noParams,
    query: noQuery,
    body: noBody,
    answer: z.array(ledgerLineView),
    statuses: { 200: 'One line for each resource.' },
    handle: async ({ control }) => ({ status: 200, body: (await control.ledger()).map(showLedgerLine) }),
  }),
  route({
    operationId: 'reclaim',
    method: 'POST',
    path: '/v1/reclaim',
    tag,
    summary:
      'Takes idle memory back now, or plans to; says what was found, claimed and freed, from whom and how.',
    params: noParams,
    query: planQuery,
    body: jsonBody(reclaimBody, { required: false }),
    answer: reclaimView,
    statuses: { 200: 'What was reclaimed, or would be.' },
    handle: async ({ control }, { query: { plan }, body: { memory, from } }) => ({
      status: 200,
      body: showReclaim(
        await control.reclaim({
          ...(memory === undefined ? {} : { memoryBytes: memory }),
          ...(from === undefined ? {} : { from }),
          ...(plan ? { plan } : {}),
        }),
      ),
    }),
  }),
];
