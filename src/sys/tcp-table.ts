// What this machine's own TCP has not brought home yet, by the kernel's table of sockets. Owns reading that table.
import { readFile } from 'node:fs/promises';
import { endianness } from 'node:os';

const synSent = '02';
const nothingQueued = '00000000';

/** Of the addresses, those that a socket of this machine is connecting to, or has sent something that is not acknowledged. */
export async function awaitedAddresses(addresses: readonly string[]): Promise<ReadonlySet<string>> {
  return awaitedIn(await readFile('/proc/net/tcp', 'latin1'), addresses);
}

/** @param table in the form of /proc/net/tcp */
export function awaitedIn(table: string, addresses: readonly string[]): ReadonlySet<string> {
  const awaited = new Set<string>();
  for (const address of addresses) {
    const remote = ` ${hexOf(address)}:`;
    for (let at = table.indexOf(remote); at >= 0; at = table.indexOf(remote, at + 1)) {
      // After the remote address and port: the state, and what is queued for sending and receiving.
      const [, state = '', queues = ''] = table.slice(at + 1, at + 60).split(/\s+/);
      const isWaiting = state === synSent || (queues !== '' && !queues.startsWith(nothingQueued));
      // The first such column of a line is its own end's.
      if (isWaiting && /^[0-9A-F]{2}$/.test(state)) awaited.add(address);
    }
  }
  return awaited;
}

/** As the kernel prints an IPv4 address: its four bytes as one number in the processor's order. */
function hexOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return (endianness() === 'LE' ? bytes.toReversed() : bytes).join('').toUpperCase();
}
