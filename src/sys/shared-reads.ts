// One buffer that many sockets are read into, for whoever looks at the bytes at once: Node otherwise makes 64 KiB for each read,
// copies what came and throws them away, which is 2 µs. Owns the buffer, and how a socket is made to use it.
import { Buffer } from 'node:buffer';
import { Socket, type OnReadOpts, type Server, type SocketConstructorOpts } from 'node:net';

/** As much as Node reads at once. One is enough: nobody reads while another's bytes are looked at. */
export const sharedBuffer = Buffer.allocUnsafeSlow(64 * 1024);
const { allocUnsafe } = Buffer;

/** What of a connection's handle is used that Node does not describe. */
type Handle = SocketConstructorOpts['handle'] & { reading: boolean; readStop(): void };

/** Node's private fields of an accepted connection; the server counts its connections by them. */
interface Accepted {
  _handle: Handle | null | undefined;
  _server: Server | null;
}

/** What came, as a buffer that is the taker's own: of the size of what came, and not of what might have. */
export function copiedReads(take: (bytes: Buffer) => void): OnReadOpts {
  return {
    buffer: sharedBuffer,
    callback: (length) => {
      const bytes = allocUnsafe(length);
      sharedBuffer.copy(bytes, 0, 0, length);
      take(bytes);
      return true;
    },
  };
}

/**
 * Node lets only who makes a socket say where its bytes go.
 * @param accepted all that was read from it was taken out, and it is not to be used any more
 * @returns the connection in its place, or that one where it has none
 */
export function readAnew(accepted: Socket, onread: OnReadOpts): Socket {
  const given = accepted as Socket & Accepted;
  const { _handle: handle, allowHalfOpen } = given;
  if (handle === undefined || handle === null) return accepted;
  // An end that was read already is read again, but only by who begins to read.
  if (accepted.bytesRead > 0) {
    handle.readStop();
    handle.reading = false;
  }
  const socket = new Socket({ handle, allowHalfOpen, onread }) as Socket & Accepted;
  socket._server = given._server;
  given._handle = null;
  given._server = null;
  return socket;
}
