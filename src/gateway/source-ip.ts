// The address of whoever is at the other end of a client connection, as it is shown to workloads.
import type { Socket } from 'node:net';

/** `::ffff:127.0.0.1` is how a dual-stack server shows an IPv4 client. */
export function sourceIpOf(socket: Socket): string {
  const address = socket.remoteAddress ?? '';
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
