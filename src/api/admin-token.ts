// The admin's token: whether a request bears it. Owns the comparison, which takes the same time for every guess.
import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BellowsError } from '../base/errors.ts';

export class AdminToken {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digest(token);
  }

  isBorneBy(request: IncomingMessage): boolean {
    const match = /^Bearer ([^\s]{1,512})$/i.exec(request.headers.authorization ?? '');
    return match?.[1] !== undefined && timingSafeEqual(digest(match[1]), this.#digest);
  }

  /** @throws BellowsError Unauthorized */
  demand(request: IncomingMessage): void {
    if (this.isBorneBy(request)) return;
    throw new BellowsError(
      'Unauthorized',
      request.headers.authorization === undefined
        ? 'The request has no Authorization header.'
        : 'The token is not the right one.',
      'Send "Authorization: Bearer TOKEN" with the adminToken of credentials.json in the data directory.',
    );
  }
}

/** Of equal length whatever the token is, as the comparison demands. */
function digest(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}
