// The link to the agent in a virtual machine: RPC over QEMU's socket of the guest's serial port, which stays while the
// agent behind it, or the process on this side, is another. Owns synchronising; calls and coming back are RpcClient's.
import type { Socket } from 'node:net';
import { guestProtocol, type GuestProtocol } from '../../protocol/guest.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { EventOf, Protocol } from '../../protocol/rpc.ts';
import type { RpcPeer } from '../../protocol/rpc-link.ts';
import { SyncScanner, syncMark } from '../../protocol/serial-sync.ts';

/** The unit's owner serves nothing to the guest. */
const nothingServed = { methods: {}, events: {} } as const satisfies Protocol;

/** A mark may have been lost with what the guest threw away; a guest that boots or is starved answers late. */
const syncWaitMs = { first: 2_000, longest: 30_000 } as const;

export type GuestLink = RpcClient<typeof nothingServed, GuestProtocol>;

export interface GuestLinkOptions {
  readonly socketPath: string;
  readonly onConnect: (peer: RpcPeer<typeof nothingServed, GuestProtocol>) => Promise<void>;
  readonly onDisconnect: () => void;
  readonly onEvent: (event: EventOf<GuestProtocol>) => void;
  readonly onDefect: (error: unknown, context: string) => void;
}

export function openGuestLink(options: GuestLinkOptions): GuestLink {
  let waitMs: number = syncWaitMs.first;
  // Another owner's marks may still be on their way: none of this one's has the same number.
  let lastMark = Date.now();
  return new RpcClient({
    ...options,
    local: nothingServed,
    handlers: {},
    remote: guestProtocol,
    synchronise: async (socket) => {
      lastMark += 1;
      try {
        await synchronise(socket, lastMark, waitMs);
        waitMs = syncWaitMs.first;
      } catch (thrown) {
        waitMs = Math.min(waitMs * 2, syncWaitMs.longest);
        throw thrown;
      }
    },
  });
}

function synchronise(socket: Socket, n: number, waitMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const scanner = new SyncScanner(n);
  const timer = setTimeout(() => reject(new Error('the guest does not answer')), waitMs);
  const onClose = (): void => reject(new Error('the port closed'));
  const onData = (chunk: Buffer): void => {
    const found = scanner.push(chunk);
    if (found === undefined) return;
    socket.off('data', onData);
    socket.pause();
    if (found.rest.length > 0) socket.unshift(found.rest);
    resolve();
  };
  socket.on('data', onData).once('close', onClose);
  socket.write(syncMark(n));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.off('data', onData).off('close', onClose);
    // Whoever listens next hears what was kept.
    socket.resume();
  });
}
