// How a change reads in the audit log: what was moved, what waits or was refused and why, and what it did to
// connections, in one line. The whole transaction stands beside it as data. Pure.
import type { CountChange, ResourceChange, Transaction } from '../../model/change.ts';
import { formatResource } from '../../model/resources.ts';
import { isCountedLimit } from '../../model/tenant.ts';

/** More than a person reads in a line; a tenant's limit may move hundreds of instances alike. */
const maxParts = 6;

/** @param subject whose change was asked for: `default/chat`, `the limits of tenant default` */
export function sentenceOf(
  subject: string,
  {
    status,
    reason,
    tenants,
    instances,
    connections,
  }: Pick<Transaction, 'status' | 'reason' | 'tenants' | 'instances' | 'connections'>,
): string {
  if (status === 'infeasible') return capital(`${subject}: not changed. ${reason}`.trim());
  const all = [...tenants, ...instances].flatMap(({ changes }) => changes);
  const open = connections.open === 0 ? '' : ` ${connections.kept} of ${connections.open} connections kept.`;
  return capital(`${subject}: ${partsOf(all)}.${open}`);
}

type AnyChange = ResourceChange | CountChange;

/** `memory 128MiB to 256MiB`, each different one once. */
export function partsOf(changes: readonly AnyChange[]): string {
  const parts = [...new Set(changes.map(partOf).filter((part) => part !== ''))];
  if (parts.length === 0) return 'as it was';
  const more = parts.length > maxParts ? `; and ${parts.length - maxParts} more` : '';
  return parts.slice(0, maxParts).join('; ') + more;
}

function partOf({ resource, before, after, wanted, status, reason }: AnyChange): string {
  const name = resource === 'cpu' ? 'CPU' : resource;
  if (status !== 'applied') {
    const why = reason === '' ? '' : ` (${reason.replace(/\.$/, '')})`;
    return `${name} stays ${shown(resource, before)}, ${shown(resource, wanted)} is ${status}${why}`;
  }
  return before === after ? '' : `${name} ${shown(resource, before)} to ${shown(resource, after)}`;
}

function shown(resource: AnyChange['resource'], amount: number | null): string {
  if (amount === null) return 'no limit';
  return isCountedLimit(resource) ? String(amount) : formatResource(resource, amount);
}

function capital(text: string): string {
  // Names are in small letters and stay so: only our own words begin a sentence.
  return text.replace(/^the /, 'The ');
}
