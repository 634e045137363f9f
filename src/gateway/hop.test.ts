// Whose word of a client is taken, and what is made of it.
import { describe, expect, test } from 'vitest';
import { clientOf, TrustedProxies, type Hop } from './hop.ts';

const proxies = new TrustedProxies(['10.0.0.0/8', 'fd00::/8', '192.168.1.7']);

function clientFrom(
  peer: string,
  headers: Readonly<Record<string, string>> = {},
  more: Partial<Hop> = {},
): ReturnType<typeof clientOf> {
  const hop = { peer, port: 8443, secure: true, proxies: proxies.has(peer) ? proxies : undefined, ...more };
  return clientOf(hop, 'shop.acme.localhost:8443', (name) => headers[name]);
}

const claims = {
  'x-forwarded-for': '1.2.3.4',
  'x-forwarded-proto': 'ftp',
  'x-forwarded-host': 'bank.example',
  'x-forwarded-port': '1',
  forwarded: 'for=1.2.3.4',
};

describe('what is told of a client', () => {
  test('what it says of itself is not believed', () => {
    expect(clientFrom('203.0.113.9', claims)).toEqual({
      ip: '203.0.113.9',
      forwardedFor: '203.0.113.9',
      proto: 'https',
      host: 'shop.acme.localhost:8443',
      port: '8443',
      forwarded: 'for=203.0.113.9;host="shop.acme.localhost:8443";proto=https',
    });
  });

  test('what a named proxy says of it is, and this hop is added', () => {
    expect(clientFrom('10.1.2.3', claims)).toEqual({
      ip: '1.2.3.4',
      forwardedFor: '1.2.3.4, 10.1.2.3',
      proto: 'ftp',
      host: 'bank.example',
      port: '1',
      forwarded: 'for=1.2.3.4, for=10.1.2.3;host="shop.acme.localhost:8443";proto=https',
    });
  });

  test.each([
    ['behind two proxies', '198.51.100.1, 10.9.9.9', '198.51.100.1'],
    ['that put an address before its own', '8.8.8.8, 198.51.100.1, fd00::5', '198.51.100.1'],
    ['that put something before its own that is no address', 'evil, 10.9.9.9', '10.9.9.9'],
    ['that is a proxy itself', '192.168.1.7, 10.9.9.9', '192.168.1.7'],
    ['of which nothing is said', '', '10.1.2.3'],
  ])('the address of a client %s is the first from our end that is no proxy', (_, chain, ip) => {
    expect(clientFrom('10.1.2.3', { 'x-forwarded-for': chain }).ip).toBe(ip);
  });

  test('addresses of IPv6 are quoted in Forwarded, and a strange host is left out', () => {
    const hop = { peer: '2001:db8::1', port: 80, secure: false, proxies: undefined };
    expect(clientOf(hop, 'a";b', () => undefined).forwarded).toBe('for="[2001:db8::1]";proto=http');
  });
});

test.each(['10.0.0.1/33', 'fd00::/129', 'proxy.example', '10.0.0.1/', '10.0.0.1/8/8', '', '10.0.0.0/-1'])(
  'a trusted proxy is an address or a network, and %j is refused',
  (address) => {
    expect(() => new TrustedProxies([address])).toThrow(/is no address of a proxy/);
  },
);
