// Serves AgentProtocol on the agent's socket to several callers at once, and tells all of them what happens.
// Owns the socket file and the links. What calls do is agent.ts.
import { rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { BellowsError } from '../base/errors.ts';
import { agentProtocol, type AgentProtocol } from '../protocol/agent.ts';
import { RpcPeer } from '../protocol/rpc-link.ts';
import type { Handlers, Protocol } from '../protocol/rpc.ts';
import type { Logger } from '../sys/log.ts';
import type { AgentEvent } from './agent.ts';

/** Callers serve nothing to the agent. */
const callerProtocol = { methods: {}, events: {} } satisfies Protocol;

export class AgentServer {
  readonly #path: string;
  readonly #log: Logger;
  readonly #peers = new Set<RpcPeer<AgentProtocol, typeof callerProtocol>>();
  #server: Server | undefined;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /** @throws BellowsError Conflict when another agent serves this data directory */
  async checkFree(): Promise<void> {
    const taken = await new Promise<boolean>((resolve) => {
      const socket = connect(this.#path);
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (taken)
      throw new BellowsError(
        'Conflict',
        `Another agent serves ${this.#path}.`,
        'Stop the other Bellows, or use another data directory.',
      );
    // Of an agent that was killed.
    rmSync(this.#path, { force: true });
  }

  async listen(handlers: Handlers<AgentProtocol>): Promise<void> {
    const server = createServer((socket) => {
      const peer = new RpcPeer<AgentProtocol, typeof callerProtocol>(socket, {
        local: agentProtocol,
        handlers,
        remote: callerProtocol,
        onClose: () => this.#peers.delete(peer),
        onDefect: (error, context) =>
          this.#log.error({ err: error, context }, 'a call failed in a way that was not foreseen'),
      });
      this.#peers.add(peer);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#path, resolve);
    });
    this.#server = server;
  }

  emit<E extends AgentEvent>(event: E): void {
    for (const peer of this.#peers) peer.emit(event.event, event.data);
  }

  /** Ends all links: whoever calls comes again, and looks at everything anew. */
  dropLinks(): void {
    for (const peer of this.#peers) peer.destroy();
  }

  /** Removes the socket; callers are disconnected when their answers are sent. */
  close(): void {
    this.#server?.close();
    for (const peer of this.#peers) peer.close();
    rmSync(this.#path, { force: true });
  }
}
