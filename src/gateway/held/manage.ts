// What callers of `@connections` can do to a held connection, whichever gateway they came by. Owns what it comes to; the exchange
// with the caller is management.ts.
import { isUtf8 } from 'node:buffer';
import type { Managed, ManageParams } from '../../protocol/beside.ts';
import type { HeldFunction } from './held-function.ts';

/** @param held undefined when there is no such function @param body what is sent */
export function manage(
  held: HeldFunction | undefined,
  { id, act }: Pick<ManageParams, 'id' | 'act'>,
  body: Buffer,
): Managed {
  const connection = held?.connection(id);
  if (connection === undefined) return { is: 'unknown' };
  if (connection.state.is !== 'open') return { is: 'gone' };
  switch (act) {
    case 'send': {
      // A frame is text or binary, and the API knows bytes only: what can be text is.
      const sent = connection.send(isUtf8(body) ? body.toString('utf8') : body);
      return { is: sent === 'sent' ? 'done' : sent };
    }
    case 'look': {
      const { connectedAtMs, lastActiveAtMs, sourceIp, userAgent } = connection;
      return { is: 'seen', connectedAtMs, lastActiveAtMs, sourceIp, userAgent };
    }
    case 'close':
      connection.close(1000, 'Connection Closed Normally');
      return { is: 'done' };
  }
}
