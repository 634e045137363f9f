// Makes a server listen: at an address, or with a socket that listens already and was given to us. Owns nothing else, so
// that who hands listening sockets on has one place to do it.
import type { AddressInfo, Server } from 'node:net';

export type ListenAt = { readonly port: number; readonly host: string } | { readonly fd: number };

/** Resolves with the port, which is the asked one unless that was 0. @throws the system's error */
export function openListening(server: Server, at: ListenAt): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => {
      server.off('error', reject);
      server.on('error', () => undefined);
      resolve((server.address() as AddressInfo).port);
    });
  });
}
