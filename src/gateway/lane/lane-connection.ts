// One client connection in the lane. It takes one request at a time; what comes meanwhile waits, and is read again
// from its first byte when the answer is out. So at every moment at most one answer is outstanding, and whenever
// something is not plain, none is: then the whole connection goes to node:http for good, with every byte not yet used.
//
//    waiting ──a plain request for a function──▶ answering ──answered──▶ waiting, or closed
//       │
//       ├──anything else, or nothing at all──▶ node:http
//       └──its first request is for an app that takes whole connections──▶ that app, or node:http
//
// Owns the socket until it is handed over. Does not own what requests mean, nor clocks (lane.ts).
import type { Socket } from 'node:net';
import { belongs, type Body, type BodyOwner } from '../body.ts';
import type { FunctionRequest } from '../exchange.ts';
import type { Hop } from '../hop.ts';
import { ClientReads } from './client-reads.ts';
import { LaneAnswer, type AnswerOwner } from './lane-answer.ts';
import { maxPlainHeadBytes, readPlainHead, type PlainHead, type PlainHeaders } from './plain-head.ts';
import type { WorkloadKey } from '../../base/ids.ts';

/** What a client may send ahead before it is read no further: one chunk as Node reads them. */
const maxWaitingBytes = 64 * 1024;

/**
 * Gives the whole connection away. Never rejects.
 * @param read what was read from it, and is used by nobody yet
 * @returns what was read from it by then, when it was not given away
 */
export type GiveAway = (socket: Socket, read: Buffer) => Promise<Buffer | undefined>;

/** To whom the bytes of an exchange are counted, nobody for the Lambda API; or whose it is instead. */
export type Served =
  { readonly workload: WorkloadKey | null } | { readonly giveAway: GiveAway } | 'notForTheLane';

export interface LaneOwner {
  /** Counts up as time goes by; see lane.ts. */
  readonly tick: number;
  /** Who is at the other end. */
  hopOf(socket: Socket): Hop;
  /** No further request is taken on any connection. */
  readonly stopping: boolean;
  /** Serves it, or has not touched it. */
  serve(request: FunctionRequest, host: string, answer: LaneAnswer): Served;
  carried(workload: WorkloadKey, bytesIn: number, bytesOut: number): void;
  /** The connection is node:http's from now on. @param bytesUnused how many of those read are put back */
  handOver(connection: LaneConnection, bytesUnused: number): void;
  closed(connection: LaneConnection): void;
}

export class LaneConnection implements AnswerOwner {
  readonly socket: Socket;
  readonly #reads: ClientReads;
  readonly #owner: LaneOwner;
  readonly #hop: Hop;
  #answer: LaneAnswer | undefined;
  #request: LaneRequest | undefined;
  #workload: WorkloadKey | null = null;
  #head: PlainHead | undefined;
  /** Came while an answer was outstanding. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Inside `#take`: what is answered at once is followed up there, not by a deeper call. */
  #taking = false;
  #tick: number;
  #used = false;

  /** @param accepted not yet read from; `socket` is there in its place */
  constructor(accepted: Socket, owner: LaneOwner) {
    this.#reads = new ClientReads(accepted, this.#onBytes);
    const { socket } = this.#reads;
    this.socket = socket;
    this.#owner = owner;
    this.#hop = owner.hopOf(socket);
    this.#tick = owner.tick;
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', ignore);
    socket.on('close', this.#onClose);
  }

  /** Whether a client waits for an answer. */
  get answering(): boolean {
    return this.#answer !== undefined;
  }

  /** Whether the client, or we, want it to end with the answer. */
  get ending(): boolean {
    return this.#head?.headers.keepAlive === false || this.#owner.stopping;
  }

  /** Whether a request was answered on it. */
  get used(): boolean {
    return this.#used;
  }

  /** At which tick it was made, or last answered. */
  get waitingSinceTick(): number {
    return this.#tick;
  }

  readonly #onBytes = (bytes: Buffer, length: number): void => {
    if (this.#answer === undefined) {
      this.#take(bytes, length);
      return;
    }
    this.#keepWaiting(bytes, 0, length);
    if (this.#waitingBytes >= maxWaitingBytes) this.socket.pause();
  };

  /** A client that has ended its side is answered no more, as node:http does by default. */
  readonly #onEnd = (): void => {
    this.#waiting = [];
    this.socket.end();
  };

  readonly #onDrain = (): void => {
    this.#answer?.emit('drain');
  };

  readonly #onClose = (): void => {
    this.#owner.closed(this);
    const answer = this.#answer;
    if (answer === undefined) return;
    this.#answer = undefined;
    // What the client took of it was carried all the same.
    this.#count(answer);
    answer.connectionClosed();
  };

  /** Serves what is whole in the first `length` of `bytes`, one after the other, as far as answers come at once. */
  #take(bytes: Buffer, length: number): void {
    this.#taking = true;
    let at = 0;
    // After a last answer, or the client's end, whatever else was sent is not looked at.
    while (at < length && this.socket.writable) {
      const most = Math.min(length, at + maxPlainHeadBytes);
      const head = readPlainHead(bytes.toString('latin1', at, most), this.#head);
      const end = head === undefined ? 0 : at + head.bytes + head.headers.contentLength;
      const served = head === undefined || end > length ? 'notForTheLane' : this.#serve(head, bytes, at);
      if (served === 'notForTheLane') {
        this.handOver(Buffer.from(bytes.subarray(at, length)));
        return;
      }
      if (served !== 'served') {
        this.#giveAway(served.giveAway, Buffer.from(bytes.subarray(at, length)));
        return;
      }
      at = end;
      if (this.#answer === undefined) continue;
      if (at < length) this.#keepWaiting(bytes, at, length);
      break;
    }
    this.#taking = false;
  }

  /** A copy of it, for it is there for this moment only. */
  #keepWaiting(bytes: Buffer, from: number, to: number): void {
    this.#waiting.push(Buffer.from(bytes.subarray(from, to)));
    this.#waitingBytes += to - from;
  }

  /** @param bytes the request's from `at` on, and maybe more */
  #serve(head: PlainHead, bytes: Buffer, at: number): 'served' | Exclude<Served, { workload: unknown }> {
    this.#head = head;
    const answer = new LaneAnswer(this);
    const { contentLength } = head.headers;
    const bodyAt = at + head.bytes;
    // As a rule there is none, and views and copies cost more than what is done with them.
    const body = contentLength === 0 ? nothing : Buffer.from(bytes.subarray(bodyAt, bodyAt + contentLength));
    const request = new LaneRequest(head, body, this.#hop);
    this.#answer = answer;
    this.#request = request;
    const served = this.#owner.serve(request, head.headers.host, answer);
    if (served === 'notForTheLane' || 'giveAway' in served) {
      this.#answer = undefined;
      return served;
    }
    this.#workload = served.workload;
    if (this.#answer === undefined) this.#count(answer);
    return 'served';
  }

  answered(answer: LaneAnswer): void {
    this.#answer = undefined;
    this.#used = true;
    this.#tick = this.#owner.tick;
    if (answer.closes) this.socket.end(() => this.socket.destroy());
    if (this.#taking) return;
    this.#count(answer);
    if (this.#waitingBytes > 0 && !answer.closes) this.#takeWaiting();
  }

  #count(answer: LaneAnswer): void {
    if (this.#workload === null) return;
    this.#owner.carried(this.#workload, this.#request?.bytes ?? 0, answer.bytesSent);
  }

  #takeWaiting(): void {
    const bytes = Buffer.concat(this.#waiting, this.#waitingBytes);
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.socket.isPaused()) this.socket.resume();
    this.#take(bytes, bytes.length);
  }

  /** Gives the connection to node:http, no answer being outstanding. @param unused read and not used */
  handOver(unused: Buffer): void {
    this.#letGo();
    this.#toNode(unused);
  }

  /** A connection that has served others is not given away: its requests may be for many. */
  #giveAway(giveAway: GiveAway, read: Buffer): void {
    if (this.#used) {
      this.handOver(read);
      return;
    }
    const { socket } = this;
    this.#letGo();
    socket.on('error', ignore);
    this.#owner.closed(this);
    void giveAway(socket, read).then((unused) => {
      if (unused === undefined) return;
      socket.off('error', ignore);
      this.#toNode(unused);
    });
  }

  #letGo(): void {
    const { socket } = this;
    this.#reads.release();
    socket.off('end', this.#onEnd).off('drain', this.#onDrain);
    socket.off('error', ignore).off('close', this.#onClose);
    // Neither flows to nobody, nor is forgotten: whoever is next reads on, first of all what is put back.
    socket.pause();
  }

  #toNode(unused: Buffer): void {
    const { socket } = this;
    if (unused.length > 0) socket.unshift(unused);
    this.#owner.handOver(this, unused.length);
    socket.resume();
  }
}

function ignore(): void {}

const nothing = Buffer.alloc(0);

class LaneRequest implements FunctionRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: PlainHeaders;
  readonly httpVersion = '1.1';
  readonly isWhole = true;
  readonly waitsToSend = false;
  readonly hop: Hop;
  readonly #body: Buffer;
  readonly #headBytes: number;

  constructor(head: PlainHead, body: Buffer, hop: Hop) {
    this.method = head.method;
    this.url = head.target;
    this.headers = head.headers;
    this.hop = hop;
    this.#body = body;
    this.#headBytes = head.bytes;
  }

  get bytes(): number {
    return this.#headBytes + this.#body.length;
  }

  readBody(limitBytes: number, _owner: BodyOwner, done: (body: Body) => void): void {
    const bytes = this.#body;
    done(bytes.length > limitBytes ? { kind: 'tooLarge' } : { kind: 'whole', bytes, belongs });
  }
}
