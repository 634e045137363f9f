// /v1/events: what happened and happens, as server-sent events.
import { z } from 'zod';
import { BellowsError } from '../../../base/errors.ts';
import { streamEvents } from '../event-stream.ts';
import { countField } from '../fields.ts';
import { rawRoute } from '../route.ts';

/** Dashboards and `bellows events -f` of a whole team; each costs a socket and up to a MiB. */
const maxStreams = 100;
let openStreams = 0;

const eventsQuery = z.strictObject({
  after: countField('after', Number.MAX_SAFE_INTEGER).meta({
    description: 'Begin after this event; 0 begins with the oldest kept.',
  }),
  follow: z
    .enum(['true', 'false'])
    .optional()
    .meta({ description: 'false ends the stream when what is kept has been sent.' }),
});

/** What a reconnecting reader has already; browsers and our CLI send it by themselves. */
function lastEventId(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || header === '') return undefined;
  if (/^\d{1,15}$/.test(header)) return Number(header);
  throw new BellowsError(
    'BadRequest',
    `Last-Event-ID ${JSON.stringify(header.slice(0, 40))} is not the id of an event.`,
    'Leave it out, or send the id of the last event received.',
  );
}

export const eventRoutes = [
  rawRoute({
    operationId: 'streamEvents',
    method: 'GET',
    path: '/v1/events',
    tag: 'machine',
    summary:
      'Server-sent events of everything that was moved, started and ended; resumes after `Last-Event-ID`.',
    params: z.strictObject({}),
    query: eventsQuery,
    mediaType: 'text/event-stream',
    statuses: { 200: 'The stream.' },
    handle: async ({ control, request }, { query }) => {
      const follow = query.follow !== 'false';
      const after = lastEventId(request.headers['last-event-id']) ?? query.after ?? (follow ? null : 0);
      if (openStreams >= maxStreams) {
        throw new BellowsError(
          'LimitReached',
          `${maxStreams} readers of events are connected.`,
          'Close one of them.',
        );
      }
      return {
        stream: async (response) => {
          openStreams += 1;
          try {
            await streamEvents(control, response, { after, follow });
          } finally {
            openStreams -= 1;
          }
        },
      };
    },
  }),
];
