import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hostUnitId } from '../../base/ids.ts';
import { gib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { agentProtocol, type AgentProtocol } from '../../protocol/agent.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import type { Protocol } from '../../protocol/rpc.ts';
import { unitDriverContract } from '../contract.ts';
import { MockAgent } from '../mock/mock-agent.ts';
import { HostDriver } from './host-driver.ts';

const capacity = { memory: 8 * gib, cpu: 4_000, storage: 100 * gib, bandwidth: 1e9 } as Resources;
const nothingCalled = { methods: {}, events: {} } as const satisfies Protocol;

/** A mock agent behind a real socket, that can be taken away and put back. */
class AgentServer {
  readonly agent = new MockAgent(capacity);
  readonly path: string;
  readonly #peers = new Set<RpcPeer<AgentProtocol, typeof nothingCalled>>();
  #server: Server | undefined;

  constructor(path: string) {
    this.path = path;
    this.agent.listen(({ event, data }) => {
      for (const peer of this.#peers) peer.emit(event, data);
    });
  }

  async listen(): Promise<void> {
    const server = createServer((socket) => {
      const peer = new RpcPeer<AgentProtocol, typeof nothingCalled>(socket, {
        local: agentProtocol,
        handlers: this.agent.handlers,
        remote: nothingCalled,
        onClose: () => this.#peers.delete(peer),
        onDefect: (error) => expect.unreachable(String(error)),
      });
      this.#peers.add(peer);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.path, resolve));
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    for (const peer of this.#peers) peer.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

function makeServer(): { server: AgentServer; remove: () => Promise<void> } {
  const directory = mkdtempSync(join(tmpdir(), 'bellows-host-'));
  const server = new AgentServer(join(directory, 'agent.sock'));
  const remove = async (): Promise<void> => {
    await server.close();
    rmSync(directory, { recursive: true });
  };
  return { server, remove };
}

unitDriverContract('host', async () => {
  const { server, remove } = makeServer();
  await server.listen();
  const onDefect = (error: unknown): void => {
    // A link that is cut during `hello` is no defect of the test.
    expect(String(error)).toMatch(/link closed/);
  };
  return {
    driver: new HostDriver({ agentSocket: server.path, onDefect }),
    id: hostUnitId,
    size: capacity,
    emitPoolChanged: (ready) => server.agent.emit({ event: 'poolChanged', data: { ready } }),
    disconnect: () => server.close(),
    reconnect: () => server.listen(),
    remove,
  };
});

describe('host driver', () => {
  let server: AgentServer;
  let remove: () => Promise<void>;
  const defects: unknown[] = [];

  beforeEach(() => {
    ({ server, remove } = makeServer());
    defects.length = 0;
  });
  afterEach(() => remove());

  const driverWith = (connectTimeoutMs: number): HostDriver =>
    new HostDriver({ agentSocket: server.path, connectTimeoutMs, onDefect: (error) => defects.push(error) });

  test('it waits for an agent that starts later', async () => {
    const provisioning = driverWith(10_000).provision(hostUnitId, capacity);
    await server.listen();
    const unit = await provisioning;
    expect(unit.provisioned).toEqual(capacity);
    await unit.close();
  });

  test('it says when no agent comes, and stops trying', async () => {
    await expect(driverWith(30).provision(hostUnitId, capacity)).rejects.toThrow(
      expect.objectContaining({ code: 'Unavailable', message: expect.stringContaining(server.path) }),
    );
    await server.listen();
    // Longer than the longest pause between two attempts.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(server.agent.calls).toEqual([]);
  });

  test('it refuses an agent of another version at once', async () => {
    await server.listen();
    const hello = await server.agent.handlers.hello({});
    server.agent.script.always('hello', { do: 'answer', result: { ...hello, protocolVersion: 999 } });
    await expect(driverWith(10_000).provision(hostUnitId, capacity)).rejects.toThrow(
      expect.objectContaining({ code: 'NotSupportedHere', message: expect.stringContaining('999') }),
    );
    expect(defects).toHaveLength(1);
  });

  test('an agent that comes back with another capacity is believed', async () => {
    await server.listen();
    const unit = await driverWith(10_000).provision(hostUnitId, capacity);
    const hello = await server.agent.handlers.hello({});
    const smaller = { ...capacity, cpu: 2_000 } as Resources;
    server.agent.script.always('hello', { do: 'answer', result: { ...hello, capacity: smaller } });
    await server.close();
    await server.listen();
    await expect.poll(() => unit.provisioned).toEqual(smaller);
    await unit.close();
  });
});
