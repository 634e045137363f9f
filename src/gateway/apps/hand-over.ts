// Hands a client's socket to an instance, with what was read from it: from then on the gateway is off the path. Owns that no
// byte is lost and none is read twice. Which instance, and what when it is gone, is decided elsewhere.
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectionShare } from '../../base/bandwidth-share.ts';
import { frameType } from '../../protocol/instance.ts';
import { MAX_PAYLOAD_BYTES, socketFd } from '../../sys/fd-passing.ts';
import { setPacing } from '../../sys/pacing.ts';
import { appLimits } from '../config.ts';
import type { AppInstance } from './app-instance.ts';

export type Passed = 'passed' | 'clientGone' | 'instanceGone' | 'tooMuch';

/**
 * @param chunks what was read from it so far; whatever Node reads meanwhile is added
 * @param onSent called once, while our copy of the socket is still open
 */
export async function handOver(
  instance: AppInstance,
  { link, channel }: NonNullable<AppInstance['handover']>,
  socket: Socket,
  chunks: Buffer[],
  onSent: () => void,
): Promise<Passed> {
  const deadlineMs = performance.now() + appLimits.handoverWaitMs;
  for (;;) {
    try {
      await channel.open();
    } catch {
      return 'instanceGone';
    }
    if (socket.destroyed) return 'clientGone';
    if (!link.open) return 'instanceGone';
    takeWhatWasRead(socket, chunks);
    const payload = Buffer.concat(chunks);
    if (payload.length > MAX_PAYLOAD_BYTES) return 'tooMuch';
    let sent: 'sent' | 'again';
    try {
      pace(instance, socket);
      sent = channel.send(socket, payload);
    } catch {
      channel.close();
      return 'instanceGone';
    }
    if (sent === 'sent') {
      onSent();
      // Nothing is awaited between the last read and this: not a byte can have come to us meanwhile.
      // It closes our copy only, so the client sees nothing of it.
      socket.destroy();
      link.send(frameType.handover, instance.countHandover(), '');
      return 'passed';
    }
    if (performance.now() >= deadlineMs) return 'instanceGone';
    await sleep(1);
  }
}

/** The kernel holds it to its share from its first answer on; the runtime inside divides anew as connections come and go. */
function pace({ line, connections }: AppInstance, socket: Socket): void {
  if (line === undefined) return;
  setPacing(socketFd(socket), connectionShare(line.bytesPerSecond, connections + 1));
}

/** Node reads a little ahead while nobody asks for it. */
function takeWhatWasRead(socket: Socket, chunks: Buffer[]): void {
  for (;;) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    chunks.push(chunk);
  }
}
