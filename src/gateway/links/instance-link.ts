// The kept-open frame link to one instance: connects when the instance appears, again when the link breaks, and
// gives up when nothing answers any more. Owns the socket. Does not own what frames mean.
import { join } from 'node:path';
import type { FrameBatch } from '../../base/frame-batch.ts';
import type { Frame } from '../../base/frame.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import { instanceSockets } from '../../protocol/instance.ts';
import { FrameLink, type FrameLinkHandlers } from '../../sys/frame-link.ts';
import { connectThroughDoor } from './door.ts';

export interface InstanceLinkHandlers {
  readonly onOpen: () => void;
  /** May throw when the frame is nonsense: the link is then broken off. */
  readonly onFrame: (frame: Frame) => void;
  /** It was open and is not any more; it is being opened again unless `close` is called. */
  readonly onLost: () => void;
  /** Nothing answers at the socket: the instance is of no further use. */
  readonly onDead: (reason: string) => void;
}

/** The instance serves before its route is sent, so refusals are rare; half a second covers a full backlog of a busy one. */
const retryPausesMs = [5, 10, 20, 50, 100, 300];
/** A link that held so long was a good one; an instance that accepts and closes again and again is given up. */
const goodLinkMs = 1_000;

export class InstanceLink {
  readonly #id: InstanceId;
  readonly #endpoint: Endpoint;
  readonly #handlers: InstanceLinkHandlers;
  #link: FrameLink | undefined;
  #attempts = 0;
  #openedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  readonly #linkHandlers: FrameLinkHandlers = {
    onFrame: (frame) => {
      if (!this.#closed) this.#handlers.onFrame(frame);
    },
    onClose: (error, link) => this.#ended(link, error),
  };

  constructor(id: InstanceId, endpoint: Endpoint, handlers: InstanceLinkHandlers) {
    this.#id = id;
    this.#endpoint = endpoint;
    this.#handlers = handlers;
    this.#connect();
  }

  get open(): boolean {
    return this.#link !== undefined;
  }

  send(type: number, id: number, payload: Uint8Array | string): boolean {
    return this.#link?.send(type, id, payload) ?? false;
  }

  sendWritten(write: (batch: FrameBatch) => void): boolean {
    return this.#link?.sendWritten(write) ?? false;
  }

  pause(): void {
    this.#link?.socket.pause();
  }

  resume(): void {
    this.#link?.socket.resume();
  }

  /** Ends it for good; no handler is called after this. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#link?.destroy();
    this.#link = undefined;
  }

  #connect(): void {
    const { runDirectory, door } = this.#endpoint;
    if (door === undefined) {
      FrameLink.connect(join(runDirectory, instanceSockets.frames), {
        ...this.#linkHandlers,
        onOpen: (link) => this.#opened(link),
      });
      return;
    }
    connectThroughDoor(door, { kind: 'socket', instance: this.#id, socket: 'frames' }).then(
      (socket) => {
        const link = new FrameLink(socket, this.#linkHandlers);
        socket.resume();
        this.#opened(link);
      },
      (error: Error) => this.#ended(undefined, error),
    );
  }

  #opened(link: FrameLink): void {
    if (this.#closed) {
      link.destroy();
      return;
    }
    this.#link = link;
    this.#openedAtMs = performance.now();
    this.#handlers.onOpen();
  }

  #ended(link: FrameLink | undefined, error: Error | undefined): void {
    if (this.#closed) return;
    if (link !== undefined && this.#link === link) {
      this.#link = undefined;
      if (performance.now() - this.#openedAtMs >= goodLinkMs) this.#attempts = 0;
      this.#handlers.onLost();
      // The handler may have closed it.
      if (this.#closed) return;
    }
    const pauseMs = retryPausesMs[this.#attempts];
    if (pauseMs === undefined) {
      this.#closed = true;
      this.#handlers.onDead(`its socket does not answer: ${error?.message ?? 'closed'}`);
      return;
    }
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), pauseMs);
  }
}
