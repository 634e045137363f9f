// How the answer to a resize is worded: what became of each resource, and of the connections. Pure.
import type { ConnectionOutcome, ChangeStatus, ResourceChange } from '../../model/change.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import type { ResourceKind } from '../../model/resources.ts';

/** What is known of one resource of one owner when its step has been taken. */
export interface Part {
  readonly status: ChangeStatus;
  readonly reason: string;
  readonly durationMs: number;
}

export function changeOf(
  resource: ResourceKind,
  amounts: { readonly before: number | null; readonly after: number | null; readonly wanted: number | null },
  part: Part,
): ResourceChange {
  return { resource, ...amounts, ...part };
}

/** Of the connections that were open before: those that clients ended themselves are neither kept nor dropped. */
export function connectionOutcome(before: ConnectionCounts, after: ConnectionCounts): ConnectionOutcome {
  const open = before.open;
  const dropped = Math.min(open, after.closedByServer - before.closedByServer);
  const left = Math.min(open - dropped, after.closedByClient - before.closedByClient);
  return { open, kept: open - dropped - left, dropped };
}
