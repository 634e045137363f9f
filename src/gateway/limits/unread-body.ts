// What a client goes on sending of a request that is answered already: taken, so that it gets to read the answer and the next
// request can follow, but only up to a bound in bytes and in time; then its connection ends. Owns that bound, over HTTP/1.1:
// HTTP/2 takes a single request back (http2/sessions.ts).
import { hasBody } from '../body.ts';
import type { ClientRequest, ClientResponse } from '../client-exchange.ts';
import { bodyLimits } from '../config.ts';
import { Http2Request } from '../http2/request.ts';

/** To be called before anything is answered. */
export function boundUnread(request: ClientRequest, response: ClientResponse): void {
  if (!hasBody(request) || request instanceof Http2Request) return;
  response.once('finish', () => {
    if (!request.complete && !request.socket.destroyed) discard(request);
  });
}

/** Whoever else reads it, or node:http by itself, reads it into nothing. */
function discard(request: ClientRequest): void {
  const { socket } = request;
  const mostRead = socket.bytesRead + bodyLimits.discardedBytes;
  const late = setTimeout(() => socket.destroy(), bodyLimits.discardedMs);
  const onData = (): void => {
    if (request.complete) stop();
    else if (socket.bytesRead > mostRead) socket.destroy();
  };
  const stop = (): void => {
    clearTimeout(late);
    socket.off('data', onData).off('close', stop);
  };
  socket.on('data', onData).once('close', stop);
}
