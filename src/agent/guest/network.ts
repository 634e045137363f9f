// The guest's network as its owner wants it: addresses of its devices, and Bellows' own address, that is on the host's
// loopback, at the same place inside. Owns the relay for that.
//
//   with a tap:    eth0 on Bellows' bridge (the door); eth1, if there is one, QEMU's user networking (the way out)
//   without one:   eth0 is QEMU's user networking, for both
import { existsSync, readFileSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import type { Identity } from '../../protocol/guest.ts';
import { IFF_UP, setDefaultRoute, setDeviceAddress, setDeviceDown } from '../../sys/network-device.ts';
import { relay } from './relay.ts';

// Of QEMU's user networking (its documentation, "Using the user mode network stack"): the guest, and the host's loopback.
const userAddress = { address: '10.0.2.15', prefixLength: 24 } as const;
const userHost = '10.0.2.2';

/** The device that leads out through QEMU's user networking, if it is there. */
export const userDeviceOf = (network: Identity['network']): string => (network === null ? 'eth0' : 'eth1');

export function setNetwork(network: Identity['network']): void {
  if (network !== null) setDeviceAddress('eth0', network);
  const userDevice = userDeviceOf(network);
  // It is the same in every unit, and a template's clones have it already.
  if (!hasDevice(userDevice) || isUp(userDevice)) return;
  setDeviceAddress(userDevice, userAddress);
  setDefaultRoute(userDevice, userHost);
}

/** What {@link setNetwork} can be tried with in this unit: its own hardware address, and one that is for examples (RFC 5737). */
export function noNetwork(): Identity['network'] {
  if (!hasDevice('eth1')) return null;
  const mac = readFileSync('/sys/class/net/eth0/address', 'latin1').trim();
  return { mac, address: '192.0.2.1', prefixLength: 32 };
}

/**
 * As before {@link setNetwork}, as far as units differ: a device that is down has neither routes nor addresses made of its
 * hardware's.
 */
export function clearNetwork(): void {
  if (hasDevice('eth1')) setDeviceDown('eth0');
}

function hasDevice(name: string): boolean {
  return existsSync(`/sys/class/net/${name}`);
}

function isUp(name: string): boolean {
  return (Number(readFileSync(`/sys/class/net/${name}/flags`, 'latin1')) & IFF_UP) !== 0;
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
