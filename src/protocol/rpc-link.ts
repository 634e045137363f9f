// Calls and events over a frame link: pairs responses with requests, validates what arrives, times calls out.
// Both ends are equal. Owns pending calls; connecting and reconnecting is src/protocol/rpc-client.ts.
import type { Duplex } from 'node:stream';
import { BellowsError, errorKinds, toErrorRecord, type ErrorCode } from '../base/errors.ts';
import type { Frame } from '../base/frame.ts';
import { FrameLink } from '../sys/frame-link.ts';
import {
  eventMessage,
  failureMessage,
  requestMessage,
  rpcFrame,
  type Caller,
  type EventOf,
  type Handlers,
  type Params,
  type Protocol,
  type ResultOf,
} from './rpc.ts';

/** Longer than any start or transaction without an explicit time. */
const defaultCallTimeoutMs = 30_000;

interface PendingCall {
  readonly method: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export interface RpcPeerOptions<Local extends Protocol, Remote extends Protocol> {
  /** What this end serves. */
  readonly local: Local;
  readonly handlers: Handlers<Local>;
  /** What the other end serves and emits. */
  readonly remote: Remote;
  readonly onEvent?: (event: EventOf<Remote>, peer: RpcPeer<Local, Remote>) => void;
  readonly onClose?: (error: Error | undefined, peer: RpcPeer<Local, Remote>) => void;
  /** Told of anything thrown by a handler that is not a BellowsError, and of messages that do not fit their schema. */
  readonly onDefect: (error: unknown, context: string) => void;
}

export class RpcPeer<Local extends Protocol, Remote extends Protocol> implements Caller<Remote> {
  readonly #link: FrameLink;
  readonly #options: RpcPeerOptions<Local, Remote>;
  readonly #pending = new Map<number, PendingCall>();
  #lastId = 0;

  constructor(socket: Duplex, options: RpcPeerOptions<Local, Remote>) {
    this.#options = options;
    this.#link = new FrameLink(socket, {
      onFrame: (frame) => this.#receive(frame),
      onClose: (error) => this.#closed(error),
    });
  }

  get closed(): boolean {
    return this.#link.closed;
  }

  call<M extends keyof Remote['methods'] & string>(
    name: M,
    params: Params<Remote['methods'][M]>,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<ResultOf<Remote['methods'][M]>> {
    const id = (this.#lastId = (this.#lastId + 1) >>> 0 || 1);
    return new Promise((resolve, reject) => {
      const timeoutMs = options.timeoutMs ?? defaultCallTimeoutMs;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new BellowsError('Unavailable', `No answer to ${name} within ${timeoutMs} ms.`));
      }, timeoutMs);
      this.#pending.set(id, { method: name, resolve: resolve as (value: unknown) => void, reject, timer });
      if (!this.#link.send(rpcFrame.request, id, JSON.stringify({ method: name, params }))) {
        this.#settle(id)?.reject(
          new BellowsError('Unavailable', `The link is closed; ${name} was not sent.`),
        );
      }
    });
  }

  /** Tells the other end; events are not answered and may be lost with the link. */
  emit<E extends keyof Local['events'] & string>(
    event: E,
    data: Extract<EventOf<Local>, { event: E }>['data'],
  ): void {
    this.#link.send(rpcFrame.event, 0, JSON.stringify({ event, data }));
  }

  close(): void {
    this.#link.end();
  }

  destroy(): void {
    this.#link.destroy();
  }

  #settle(id: number): PendingCall | undefined {
    const call = this.#pending.get(id);
    if (call === undefined) return undefined;
    this.#pending.delete(id);
    clearTimeout(call.timer);
    return call;
  }

  #closed(error: Error | undefined): void {
    for (const id of this.#pending.keys()) {
      const call = this.#settle(id);
      call?.reject(new BellowsError('Unavailable', `The link closed before ${call.method} was answered.`));
    }
    this.#options.onClose?.(error, this);
  }

  #receive(frame: Frame): void {
    const message: unknown = JSON.parse(frame.payload.toString());
    switch (frame.type) {
      case rpcFrame.request:
        void this.#serve(frame.id, message);
        return;
      case rpcFrame.response: {
        const call = this.#settle(frame.id);
        if (call === undefined) return;
        const parsed = this.#options.remote.methods[call.method]?.result.safeParse(message);
        if (parsed?.success === true) call.resolve(parsed.data);
        else
          call.reject(
            new Error(`the answer to ${call.method} does not fit its schema: ${parsed?.error.message ?? ''}`),
          );
        return;
      }
      case rpcFrame.failure: {
        const record = failureMessage.parse(message);
        const code: ErrorCode = record.code in errorKinds ? (record.code as ErrorCode) : 'Internal';
        this.#settle(frame.id)?.reject(new BellowsError(code, record.message, record.hint));
        return;
      }
      case rpcFrame.event: {
        const { event, data } = eventMessage.parse(message);
        const parsed = this.#options.remote.events[event]?.safeParse(data);
        if (parsed?.success === true)
          this.#options.onEvent?.({ event, data: parsed.data } as EventOf<Remote>, this);
        else this.#options.onDefect(parsed?.error ?? new Error('unknown event'), `event ${event}`);
        return;
      }
      default:
        throw new RangeError(`frame type ${frame.type} is not of this protocol`);
    }
  }

  async #serve(id: number, message: unknown): Promise<void> {
    let context = 'request';
    try {
      const { method, params } = requestMessage.parse(message);
      context = method;
      const schema = this.#options.local.methods[method];
      if (schema === undefined)
        throw new BellowsError('NotSupportedHere', `The method ${method} is not known.`);
      const handler = this.#options.handlers[method as keyof Local['methods']] as (
        params: unknown,
      ) => Promise<unknown>;
      const result = await handler(schema.params.parse(params));
      this.#link.send(rpcFrame.response, id, JSON.stringify(result));
    } catch (thrown) {
      if (!(thrown instanceof BellowsError)) this.#options.onDefect(thrown, context);
      this.#link.send(rpcFrame.failure, id, JSON.stringify(toErrorRecord(thrown)));
    }
  }
}
