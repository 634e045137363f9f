// Whose a TCP socket of this machine is, from /proc/net/tcp. Owns the format. Reads the table of our own network namespace.
import { readFile } from 'node:fs/promises';

/** "0A" in the table. */
const listenState = '0A';

/** The user that made the socket connected from `127.0.0.1:localPort` to `127.0.0.1:remotePort`; undefined when there is none. */
export async function ownerOfConnection(localPort: number, remotePort: number): Promise<number | undefined> {
  for (const [table, address] of tables) {
    const owner = findOwner(
      await read(table),
      `${address}:${hex(localPort)}`,
      `${address}:${hex(remotePort)}`,
    );
    if (owner !== undefined) return owner;
  }
  return undefined;
}

/** The user that listens on a port, on any address; undefined when nobody does. */
export async function ownerOfListener(port: number): Promise<number | undefined> {
  for (const [table] of tables) {
    for (const line of (await read(table)).split('\n')) {
      const [, local, , state, , , , uid] = line.trim().split(/\s+/);
      if (state === listenState && local?.endsWith(`:${hex(port)}`) === true) return Number(uid);
    }
  }
  return undefined;
}

/** 127.0.0.1 as the kernel prints it on little-endian machines: on IPv4, and mapped into IPv6. */
const tables = [
  ['/proc/net/tcp', '0100007F'],
  ['/proc/net/tcp6', '0000000000000000FFFF00000100007F'],
] as const;

/** Exported for its test. */
export function findOwner(table: string, local: string, remote: string): number | undefined {
  const at = table.indexOf(` ${local} ${remote} `);
  if (at < 0) return undefined;
  // "… st tx_queue:rx_queue tr:tm->when retrnsmt uid …" follows the two addresses (proc_net_tcp.rst)
  const uid = table
    .slice(at, at + 200)
    .trim()
    .split(/\s+/)[6];
  return uid === undefined ? undefined : Number(uid);
}

const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0');

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1');
  } catch {
    // No IPv6 on this machine.
    return '';
  }
}
