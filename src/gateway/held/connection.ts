// One client's WebSocket that the gateway holds: what is known of it, what it has sent and waits, and what it is told.
// All but its socket is plain data. Owns its state, its queue and its back-pressure. Does not own its socket (sockets.ts), nor
// when the function gets what waits (turns.ts).
//
//   connecting ──$connect accepts──▶ open ──we close──▶ closing
//       │                             │                    │
//       │ refused, or it left         │ it closes, or is lost
//       ▼                             ▼                    ▼
//      gone ◀──$disconnect is answered, after all that waited── left
import type { Socket } from 'node:net';
import { heldBounds } from './bounds.ts';
import type { Snapshot, SocketState } from './move/snapshot.ts';

/** How a connection ended: a close code and words (RFC 6455, 7.1.5). */
export interface Ending {
  readonly code: number;
  readonly reason: string;
}

export type ConnectionState =
  | { readonly is: 'connecting' }
  | { readonly is: 'open' }
  /** Our close frame is out, and the client's is waited for. */
  | ({ readonly is: 'closing' } & Ending)
  /** There is no socket any more; the function still gets what waits, and then the end. */
  | ({ readonly is: 'left' } & Ending)
  | { readonly is: 'gone' };

/** One message as its event carries it. */
export interface WaitingMessage {
  readonly body: string;
  readonly isBase64Encoded: boolean;
}

/** What a connection uses of its WebSocket (sockets.ts). */
export interface ClientSocket {
  /** What was sent and has not left this process. */
  readonly bufferedAmount: number;
  readonly isPaused: boolean;
  /** What another process needs to go on with it; undefined when it can not go now. */
  readonly movable: (SocketState & { readonly socket: Socket }) | undefined;
  /** A string as text, bytes as such. */
  send(data: string | Buffer): void;
  pause(): void;
  resume(): void;
  close(code: number, reason: string): void;
  terminate(): void;
  /** Another process goes on with it: our descriptor is closed, of which its client sees nothing. */
  abandon(): void;
}

/** What connections need of whoever hands over what they have. */
export interface ConnectionOwner {
  nowMs(): number;
  /** It may have something to hand over. */
  changed(connection: HeldConnection): void;
  carried(bytesIn: number, bytesOut: number): void;
  /** A client's socket is closed, whatever becomes of the connection. */
  disconnected(): void;
}

const connecting: ConnectionState = { is: 'connecting' };
const open: ConnectionState = { is: 'open' };
const gone: ConnectionState = { is: 'gone' };

export class HeldConnection {
  readonly id: string;
  readonly sourceIp: string;
  readonly userAgent: string;
  /** Wall-clock time: callers are told of it, and the next gateway process goes on with it. */
  connectedAtMs: number;
  lastActiveAtMs: number;
  state: ConnectionState = connecting;
  /** Whether it stands in its function's line, its first message or its end is with the function now, or it goes to another process. */
  turn: 'none' | 'inLine' | 'running' | 'moving' = 'none';
  /** In the order they came; the first stays until it is answered. */
  readonly waiting: WaitingMessage[] = [];
  waitingBytes = 0;
  /** Whether the first of them counts in its tenant's rate of requests: once, however often it is tried. */
  isCounted = false;
  socket: ClientSocket | undefined;
  readonly #owner: ConnectionOwner;

  constructor(
    owner: ConnectionOwner,
    id: string,
    client: { readonly sourceIp: string; readonly userAgent: string },
  ) {
    this.#owner = owner;
    this.id = id;
    this.sourceIp = client.sourceIp;
    this.userAgent = client.userAgent;
    this.connectedAtMs = owner.nowMs();
    this.lastActiveAtMs = this.connectedAtMs;
  }

  get hasWork(): boolean {
    return this.waiting.length > 0 || this.state.is === 'left';
  }

  /** The handshake is complete. */
  opened(socket: ClientSocket): void {
    this.socket = socket;
    this.state = open;
    this.lastActiveAtMs = this.#owner.nowMs();
  }

  /** It was another process's, which had opened it. */
  movedHere(snapshot: Snapshot, socket: ClientSocket): void {
    this.socket = socket;
    this.state = open;
    this.connectedAtMs = snapshot.connectedAtMs;
    this.lastActiveAtMs = snapshot.lastActiveAtMs;
    this.isCounted = snapshot.isCounted;
    this.waiting.push(...snapshot.waiting);
    for (const message of snapshot.waiting) this.waitingBytes += bytesOf(message);
  }

  /** Whether nothing more is read of its client until some of what waits is done. */
  get isFull(): boolean {
    return this.waiting.length >= heldBounds.pauseAtMessages || this.waitingBytes >= heldBounds.pauseAtBytes;
  }

  /** Anything came from the client, pings included. */
  touched(): void {
    this.lastActiveAtMs = this.#owner.nowMs();
  }

  received(data: Buffer, isBinary: boolean): void {
    if (this.state.is === 'gone') return;
    this.touched();
    this.#owner.carried(data.length, 0);
    // As text it holds on to nothing else of what was read with it.
    this.waiting.push({ body: data.toString(isBinary ? 'base64' : 'utf8'), isBase64Encoded: isBinary });
    this.waitingBytes += data.length;
    if (this.isFull) this.socket?.pause();
    this.#owner.changed(this);
  }

  /** The first message is done with. */
  dropFirst(): void {
    const first = this.waiting.shift();
    if (first === undefined) return;
    this.isCounted = false;
    this.waitingBytes -= bytesOf(first);
    const few =
      this.waiting.length <= heldBounds.pauseAtMessages / 2 &&
      this.waitingBytes <= heldBounds.pauseAtBytes / 2;
    if (few && this.socket?.isPaused === true) this.socket.resume();
  }

  /** @returns whether it is on its way: `full` when the client has left too much unread, `gone` when it is not open */
  send(data: string | Buffer): 'sent' | 'full' | 'gone' {
    if (this.state.is !== 'open' || this.socket === undefined) return 'gone';
    if (this.socket.bufferedAmount > heldBounds.mostUnsentBytes) return 'full';
    this.touched();
    this.socket.send(data);
    this.#owner.carried(0, Buffer.byteLength(data));
    return 'sent';
  }

  /** Tells the client, who may answer it; what it has sent is still handed over. */
  close(code: number, reason: string): void {
    if (this.state.is !== 'open') return;
    this.state = { is: 'closing', code, reason };
    this.socket?.close(code, reason);
  }

  /** Its socket, with which it was opened, is closed. */
  disconnected(ending: Ending): void {
    this.#owner.disconnected();
    this.left(ending);
  }

  /** There is no client any more. */
  left(ending: Ending): void {
    this.socket = undefined;
    if (this.state.is === 'gone') return;
    const { code, reason } = this.state.is === 'closing' ? this.state : ending;
    this.state = { is: 'left', code, reason };
    this.#owner.changed(this);
  }

  /** Nothing of it is handed over any more. A client that is still there is told to go. */
  forget(code: number, reason: string): void {
    this.close(code, reason);
    this.state = gone;
    this.waiting.length = 0;
    this.waitingBytes = 0;
  }
}

function bytesOf({ body, isBase64Encoded }: WaitingMessage): number {
  return Buffer.byteLength(body, isBase64Encoded ? 'base64' : 'utf8');
}
