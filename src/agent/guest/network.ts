// The guest's network as its owner wants it: addresses of its devices, and Bellows' own address, that is on the host's
// loopback, at the same place inside. Owns the relay for that. Devices are set with the image's busybox.
//
//   with a tap:    eth0 on Bellows' bridge (the door); eth1, if there is one, QEMU's user networking (the way out)
//   without one:   eth0 is QEMU's user networking, for both
import { existsSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import type { Identity } from '../../protocol/guest.ts';
import { relay } from './relay.ts';
import { runProgram } from './run-program.ts';

// Of QEMU's user networking (its documentation, "Using the user mode network stack"): the guest, and the host's loopback.
const userAddress = '10.0.2.15/24';
const userHost = '10.0.2.2';

type Steps = readonly (readonly [string, ...string[]])[];

const ip = (...args: string[]): [string, ...string[]] => ['busybox', 'ip', ...args];

/** The device that leads out through QEMU's user networking, if it is there. */
export const userDeviceOf = (network: Identity['network']): string => (network === null ? 'eth0' : 'eth1');

/** What is to be done, in order. Pure. @param devices of the guest that exist, loopback left out */
export function networkSteps(network: Identity['network'], devices: readonly string[]): Steps {
  const steps: [string, ...string[]][] = [ip('link', 'set', 'lo', 'up')];
  const userDevice = userDeviceOf(network);
  if (network !== null) {
    const { mac, address, prefixLength } = network;
    steps.push(
      ip('link', 'set', 'eth0', 'down'),
      ip('link', 'set', 'eth0', 'address', mac),
      ip('addr', 'flush', 'dev', 'eth0'),
      ip('addr', 'add', `${address}/${prefixLength}`, 'dev', 'eth0'),
      ip('link', 'set', 'eth0', 'up'),
    );
  }
  if (devices.includes(userDevice)) {
    steps.push(
      ip('addr', 'flush', 'dev', userDevice),
      ip('addr', 'add', userAddress, 'dev', userDevice),
      ip('link', 'set', userDevice, 'up'),
      ip('route', 'replace', 'default', 'via', userHost, 'dev', userDevice),
    );
  }
  return steps;
}

export async function setNetwork(network: Identity['network']): Promise<void> {
  const devices = ['eth0', 'eth1'].filter((device) => existsSync(`/sys/class/net/${device}`));
  for (const step of networkSteps(network, devices)) await runProgram(step);
}

/** Serves 127.0.0.1:`port` from the host's. Fails with the system error when something in here has the port. */
export function relayOwnPort(port: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    const target = connect({ host: userHost, port, allowHalfOpen: true, noDelay: true });
    relay(socket, target);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
