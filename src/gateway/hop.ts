// Who is at the other end of a client connection, and what is told of the client to apps and functions: its address, and
// how it reached us. A client can write anything into X-Forwarded-* and Forwarded: only what a proxy says that was named
// with `--trusted-proxy` is passed on; what anybody else says is dropped. Pure but for reading the socket's addresses.
import { BlockList, isIP, type Socket } from 'node:net';
import { BellowsError } from '../base/errors.ts';
import { sourceIpOf } from './source-ip.ts';

export interface Hop {
  /** The address at the other end: the client's, or a proxy's. */
  readonly peer: string;
  /** The port that was connected to. */
  readonly port: number;
  /** Whether it is encrypted. */
  readonly secure: boolean;
  /** Given when the peer is a proxy that is believed. */
  readonly proxies: TrustedProxies | undefined;
}

export interface Client {
  /** Its address, as far as it is known by somebody who is believed. */
  readonly ip: string;
  readonly forwardedFor: string;
  readonly proto: string;
  readonly host: string | undefined;
  readonly port: string;
  /** RFC 7239: one element for each hop. */
  readonly forwarded: string;
}

export class TrustedProxies {
  readonly #list = new BlockList();
  readonly #size: number;

  /** @param addresses each an address, or a network as `10.0.0.0/8`. @throws BellowsError BadRequest */
  constructor(addresses: readonly string[]) {
    this.#size = addresses.length;
    for (const address of addresses) this.#add(address);
  }

  has(ip: string): boolean {
    if (this.#size === 0) return false;
    const family = isIP(ip);
    return family !== 0 && this.#list.check(ip, family === 6 ? 'ipv6' : 'ipv4');
  }

  hopOf(socket: Socket): Hop {
    const peer = sourceIpOf(socket);
    return {
      peer,
      port: socket.localPort ?? 0,
      secure: 'encrypted' in socket && socket.encrypted === true,
      proxies: this.has(peer) ? this : undefined,
    };
  }

  #add(address: string): void {
    const [ip = '', prefix, ...more] = address.split('/');
    const family = isIP(ip);
    const bits = Number(prefix ?? (family === 6 ? 128 : 32));
    const whole = family !== 0 && more.length === 0 && /^\d{1,3}$/.test(prefix ?? '0');
    if (!whole || bits > (family === 6 ? 128 : 32))
      throw new BellowsError(
        'BadRequest',
        `${JSON.stringify(address.slice(0, 80))} is no address of a proxy.`,
        'Give addresses or networks, separated by commas: --trusted-proxy 10.0.0.7,192.168.0.0/16',
      );
    this.#list.addSubnet(ip, bits, family === 6 ? 'ipv6' : 'ipv4');
  }
}

/** Headers in which others say where a request came from; what goes on is made anew of what is believed. */
export const forwardingHeaders: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-prefix',
]);

/**
 * @param host the Host header
 * @param header what the request says, by lower-case name
 */
export function clientOf(
  hop: Hop,
  host: string | undefined,
  header: (lowerName: string) => string | undefined,
): Client {
  const { peer, port, proxies } = hop;
  const told = proxies === undefined ? () => undefined : header;
  const chain = told('x-forwarded-for');
  const forwarded = told('forwarded');
  const proto = told('x-forwarded-proto') ?? (hop.secure ? 'https' : 'http');
  const element = forwardedElement(peer, host, hop.secure ? 'https' : 'http');
  return {
    ip: clientIp(peer, chain, proxies),
    forwardedFor: chain === undefined ? peer : `${chain}, ${peer}`,
    proto,
    host: told('x-forwarded-host') ?? host,
    port: told('x-forwarded-port') ?? String(port),
    forwarded: forwarded === undefined ? element : `${forwarded}, ${element}`,
  };
}

/** From our end backwards, the first that is no proxy of ours: what stands before it, it may have made up. */
function clientIp(peer: string, chain: string | undefined, proxies: TrustedProxies | undefined): string {
  if (chain === undefined || proxies === undefined) return peer;
  let ip = peer;
  for (const entry of chain.split(',').toReversed()) {
    const next = entry.trim();
    if (isIP(next) === 0) return ip;
    ip = next;
    if (!proxies.has(ip)) return ip;
  }
  return ip;
}

/** What may stand in a quoted string unescaped, of what hosts are made of. */
const plainHost = /^[\w.:[\]-]+$/;

function forwardedElement(ip: string, host: string | undefined, proto: string): string {
  const client = isIP(ip) === 6 ? `"[${ip}]"` : ip;
  const named = host === undefined || !plainHost.test(host) ? '' : `;host="${host}"`;
  return `for=${client}${named};proto=${proto}`;
}
