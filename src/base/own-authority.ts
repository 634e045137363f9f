// Where this Bellows is reached from the machine that it runs on. Pure; does not know whether somebody listens there.

/** `ADDRESS:PORT`: the machine's loopback device, unless it listens on one address only. @param host what it listens on */
export function ownAuthority(host: string, port: number): string {
  const everywhere = host === '0.0.0.0' || host === '::' || host === 'localhost';
  const address = everywhere ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  return `${address}:${port}`;
}
