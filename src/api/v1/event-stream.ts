// One reader's stream of events: first those that it missed, then each as it happens, none twice and none left out.
// Owns order, heartbeat and the bound for readers that are too slow; they come back with `Last-Event-ID`.
import type { ServerResponse } from 'node:http';
import { mib } from '../../base/quantity.ts';
import type { AuditEvent, ControlPlane } from '../../controller/control-plane.ts';
import { nameInKey } from '../workload-key.ts';
import { showTime } from './views/quantities.ts';

/** Shorter than the 30 to 60 s after which proxies end a silent connection. */
const heartbeatMs = 15_000;
/** Several thousand events: a reader that is so far behind is cut off, and reads what is kept when it comes back. */
const maxUnsentBytes = mib;
const pageSize = 500;

type Source = Pick<ControlPlane, 'eventsSince' | 'subscribeEvents'>;

export interface EventStreamOptions {
  /** The last event that the reader has; null begins with what happens from now on. */
  readonly after: number | null;
  /** Goes on when what is kept has been sent. */
  readonly follow: boolean;
}

export function encodeEvent(event: AuditEvent): string {
  const data = {
    sequence: event.sequence,
    time: showTime(event.timeMs),
    type: event.type,
    tenant: event.tenant,
    workload: event.workload === null ? null : nameInKey(event.workload),
    instance: event.instance,
    message: event.message,
    data: event.data,
  };
  // A type is one of our own words, but a line break in it would begin a field of its own.
  return `id: ${event.sequence}\nevent: ${event.type.replace(/[\r\n]/g, ' ')}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Resolves when the stream has ended, by either side. */
export async function streamEvents(
  source: Source,
  response: ServerResponse,
  options: EventStreamOptions,
): Promise<void> {
  response.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.flushHeaders();
  // A reader that is slow on purpose or by accident must not make us hold what it does not take.
  const send = (text: string): void => {
    response.write(text);
    if (response.writableLength > maxUnsentBytes) response.destroy();
  };
  const closed = new Promise<void>((resolve) => response.once('close', resolve));
  // Events may come while older ones are still read; they wait here, so that order holds.
  let waiting: AuditEvent[] | undefined = [];
  let last = options.after ?? -1;
  const deliver = (event: AuditEvent): void => {
    if (event.sequence <= last) return;
    last = event.sequence;
    send(encodeEvent(event));
  };
  const unsubscribe = options.follow
    ? source.subscribeEvents((event) => {
        if (waiting === undefined) deliver(event);
        else waiting.push(event);
      })
    : (): void => undefined;
  const heartbeat = setInterval(() => send(': still here\n\n'), heartbeatMs);
  try {
    if (options.after !== null) await sendKept(source, response, deliver, () => last);
    const held = waiting;
    waiting = undefined;
    for (const event of held) deliver(event);
    if (!options.follow) response.end();
    await closed;
  } finally {
    clearInterval(heartbeat);
    unsubscribe();
    response.destroy();
  }
}

async function sendKept(
  source: Source,
  response: ServerResponse,
  deliver: (event: AuditEvent) => void,
  last: () => number,
): Promise<void> {
  for (;;) {
    const page = await source.eventsSince(last(), pageSize);
    page.forEach(deliver);
    if (page.length < pageSize || response.destroyed) return;
    if (response.writableNeedDrain) await drained(response);
  }
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off('drain', settle);
      response.off('close', settle);
      resolve();
    };
    response.once('drain', settle);
    response.once('close', settle);
  });
}
