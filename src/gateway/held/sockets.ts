// The WebSocket protocol of held connections: the `ws` package, told to cost little while nothing happens. Owns its options
// and what of its events goes where. Does not own what they mean (connection.ts).
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { heldBounds } from './bounds.ts';
import type { HeldConnection } from './connection.ts';

/** Knows its connection by itself, so that no listener has to be made for it. */
export class HeldSocket extends WebSocket {
  connection: HeldConnection | undefined;
}

function onMessage(this: WebSocket, data: WebSocket.RawData, isBinary: boolean): void {
  // "nodebuffer" is the binary type of all.
  if (this instanceof HeldSocket) this.connection?.received(data as Buffer, isBinary);
}

function onTouch(this: WebSocket): void {
  if (this instanceof HeldSocket) this.connection?.touched();
}

function onClose(this: WebSocket, code: number, reason: Buffer): void {
  if (this instanceof HeldSocket) this.connection?.left({ code, reason: reason.toString('utf8') });
}

/** What is wrong with a client is in the close code that it gets; unheard, it would end the process. */
function onError(): void {}

export class HeldSockets {
  /** The subprotocol of the handshake that is being completed. */
  #protocol: string | undefined;
  readonly #server = new WebSocketServer({
    noServer: true,
    WebSocket: HeldSocket,
    clientTracking: false,
    maxPayload: heldBounds.messageBytes,
    // With takeover a connection would keep up to 300 KiB of zlib's for as long as it lives; and a window can not be
    // handed to another process.
    perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true },
    handleProtocols: (offered) =>
      this.#protocol !== undefined && offered.has(this.#protocol) ? this.#protocol : false,
  });

  /**
   * Completes the handshake, or answers why it can not be, and the connection is open or has left.
   * @param protocol which subprotocol to choose, if the client offers it
   */
  open(
    {
      request,
      socket,
      head,
    }: { readonly request: IncomingMessage; readonly socket: Socket; readonly head: Buffer },
    connection: HeldConnection,
    protocol: string | undefined,
  ): void {
    this.#protocol = protocol;
    let isOpen = false;
    this.#server.handleUpgrade(request, socket, head, (held) => {
      isOpen = true;
      held.connection = connection;
      held
        .on('message', onMessage)
        .on('close', onClose)
        .on('error', onError)
        .on('ping', onTouch)
        .on('pong', onTouch);
      connection.opened(held);
    });
    if (!isOpen) connection.left({ code: 1006, reason: '' });
  }
}
