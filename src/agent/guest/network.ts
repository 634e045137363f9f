// The guest's network as its owner wants it: addresses of its devices, and Bellows' own address, that is on the host's
// loopback, at the same place inside. Owns the relay for that.
//
//   with a tap:    eth0 on Bellows' bridge (the door); eth1, if there is one, QEMU's user networking (the way out)
//   without one:   eth0 is QEMU's user networking, for both
import { existsSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import type { Identity } from '../../protocol/guest.ts';
import { setDefaultRoute, setDeviceAddress } from '../../sys/network-device.ts';
import { relay } from './relay.ts';

// Of QEMU's user networking (its documentation, "Using the user mode network stack"): the guest, and the host's loopback.
const userAddress = { address: '10.0.2.15', prefixLength: 24 } as const;
const userHost = '10.0.2.2';

/** The device that leads out through QEMU's user networking, if it is there. */
export const userDeviceOf = (network: Identity['network']): string => (network === null ? 'eth0' : 'eth1');

export function setNetwork(network: Identity['network']): void {
  if (network !== null) setDeviceAddress('eth0', network);
  const userDevice = userDeviceOf(network);
  if (!existsSync(`/sys/class/net/${userDevice}`)) return;
  setDeviceAddress(userDevice, userAddress);
  setDefaultRoute(userDevice, userHost);
}

/** Serves 127.0.0.1:`port` from the host's. Fails with the system error when something in here has the port. */
export function relayOwnPort(port: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    relay(socket, connect({ host: userHost, port, allowHalfOpen: true, noDelay: true }));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
