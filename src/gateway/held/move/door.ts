// Where the next gateway comes for this one's held connections: `run/gateway-PID-held.sock`. It connects twice: over one connection
// descriptors go to it, which Node may not read at its end (src/sys/fd-passing.ts), over the other words: ours that some were
// sent, its that one was taken or not. Owns both, and who is the newest. Does not own what is given (giver.ts).
import { createServer, type Server, type Socket } from 'node:net';
import { sendFd, socketFd } from '../../../sys/fd-passing.ts';
import { listenAtSocket } from '../../../sys/listen-at-socket.ts';
import type { Successor } from './giver.ts';

/** Which of the gateways that serve together one is, and how many they are. */
export interface Place {
  readonly index: number;
  readonly of: number;
}

/** The first line of a connection: what it is for, and whose. */
export const firstLine = (what: 'words' | 'descriptors', pid: number, { index, of }: Place): string =>
  `${what} ${pid} ${index} ${of}\n`;
const linePattern = /^(words|descriptors) (\d+) (\d+) (\d+)\n/;

/** Whether one in that place goes on with what one in `before` has: with fewer places than before each stands for several. */
export const succeeds = ({ index, of }: Place, before: Pick<Place, 'index'>): boolean =>
  before.index % of === index;

export const word = { taken: 0x2b, notTaken: 0x2d, sent: 0x21 } as const;

interface Caller {
  words: Socket | undefined;
  descriptors: Socket | undefined;
  successor: Successor | undefined;
}

export interface DoorHandlers {
  /** Another is the newest; undefined: there is none. */
  readonly onSuccessor: (successor: Successor | undefined) => void;
  readonly onAnswer: (isTaken: boolean, from: Successor) => void;
}

export class Door {
  readonly #place: Pick<Place, 'index'>;
  readonly #handlers: DoorHandlers;
  readonly #server: Server;
  /** In the order in which they came. */
  readonly #callers = new Map<number, Caller>();
  readonly #sockets = new Set<Socket>();

  /** @param place this gateway's: who serves in others has clients of its own */
  constructor(place: Pick<Place, 'index'>, handlers: DoorHandlers) {
    this.#place = place;
    this.#handlers = handlers;
    this.#server = createServer((socket) => this.#greet(socket));
  }

  listen(path: string): Promise<void> {
    return listenAtSocket(this.#server, path);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #greet(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.once('data', (line: Buffer) => {
      const [, what, pid, index, of] = linePattern.exec(line.toString('latin1')) ?? [];
      if (what === undefined || !succeeds({ index: Number(index), of: Number(of) }, this.#place)) {
        socket.destroy();
        return;
      }
      this.#assign(socket, what as 'words' | 'descriptors', Number(pid));
    });
  }

  #assign(socket: Socket, what: 'words' | 'descriptors', pid: number): void {
    const caller = this.#callers.get(pid) ?? {
      words: undefined,
      descriptors: undefined,
      successor: undefined,
    };
    this.#callers.set(pid, caller);
    caller[what] = socket;
    const { words, descriptors } = caller;
    socket.once('close', () => {
      words?.destroy();
      descriptors?.destroy();
      if (this.#callers.get(pid) !== caller) return;
      this.#callers.delete(pid);
      this.#tell();
    });
    if (words === undefined || descriptors === undefined) return;
    const successor: Successor = {
      pid,
      send: (client, state) => sendFd(socketFd(descriptors), socketFd(client), state),
      announce: () => void words.write(Buffer.from([word.sent])),
    };
    caller.successor = successor;
    words.on('data', (answers: Buffer) => {
      for (const answer of answers) this.#handlers.onAnswer(answer === word.taken, successor);
    });
    this.#tell();
  }

  #tell(): void {
    this.#handlers.onSuccessor([...this.#callers.values()].findLast(({ successor }) => successor)?.successor);
  }
}
