// One log out of two: what a workload's instances printed on this machine, and what in virtual machines. A position in it is
// both positions. Owns no file: each part has its own.
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { Caller, Params, ResultOf } from '../../protocol/rpc.ts';

type Asked = Params<AgentProtocol['methods']['readLogs']>;
type Page = ResultOf<AgentProtocol['methods']['readLogs']>;
type Cursors = readonly [host: string | null, machines: string | null];

/** A log from its beginning; also where a position is from a time when there was one part. */
const beginning = '0';
const separator = '.';
/** Beyond what the reader is willing to wait. */
const marginMs = 5_000;

/** @param parts this machine's agent, and the fleet */
export async function readBothLogs(
  parts: readonly [Caller<AgentProtocol>, Caller<AgentProtocol>],
  { workload, cursor, limit, waitMs }: Asked,
): Promise<Page> {
  const from = cursorsOf(cursor);
  // From the end the last of both together count; from a position none may be left out, and so each has its half.
  const each = cursor === null ? limit : Math.ceil(limit / 2);
  const read = (part: 0 | 1, at: string | null, patienceMs: number): Promise<Page> =>
    parts[part].call(
      'readLogs',
      { workload, cursor: at, limit: each, waitMs: patienceMs },
      { timeoutMs: patienceMs + marginMs },
    );
  const [host, machines] = await Promise.all([read(0, from[0], 0), read(1, from[1], 0)]);
  const found = {
    entries: inOrder([...host.entries, ...machines.entries]),
    cursor: cursorOf(host, machines),
  };
  if (found.entries.length > 0 || waitMs === 0)
    return cursor === null ? { ...found, entries: found.entries.slice(-limit) } : found;
  // Who has a line first; what the other is about to say is read from the same place next time.
  const late = await Promise.any([
    read(0, host.cursor, waitMs).then((page) => someLines(page, cursorOf(page, machines))),
    read(1, machines.cursor, waitMs).then((page) => someLines(page, cursorOf(host, page))),
  ]).catch(() => undefined);
  return late ?? found;
}

/** @throws Error where there are none: the other is still being waited for */
function someLines({ entries }: Page, cursor: string): Page {
  if (entries.length === 0) throw new Error('no line came');
  return { entries, cursor };
}

function cursorsOf(cursor: string | null): Cursors {
  if (cursor === null) return [null, null];
  const [host = beginning, machines = beginning] = cursor.split(separator);
  return [host, machines];
}

function cursorOf(host: Page, machines: Page): string {
  return `${host.cursor}${separator}${machines.cursor}`;
}

/** Each part's lines stay in their order: sorting is stable. */
function inOrder(entries: Page['entries']): Page['entries'] {
  return entries.toSorted((a, b) => a.timeMs - b.timeMs);
}
