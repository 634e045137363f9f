import { describe, expect, test } from 'vitest';
import { acceptanceOf, asksInOrder, offeredProtocols } from './handshake.ts';

const handshake = {
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

describe('the answer to a handshake', () => {
  test('accepts the key as the example of RFC 6455 says', () => {
    expect(acceptanceOf({ method: 'GET', headers: handshake })).toBe(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
    );
  });

  test.each([
    ['chat, superchat', 'chat'],
    ['graphql-ws', 'graphql-ws'],
    ['no token', undefined],
    ['', undefined],
  ])('to an offer of the protocols %j selects %s', (offered, selected) => {
    const headers = { ...handshake, 'sec-websocket-protocol': offered };
    const line = /^Sec-WebSocket-Protocol: (.*)$/m.exec(
      acceptanceOf({ method: 'GET', headers }, offeredProtocols({ method: 'GET', headers })[0]) ?? '',
    );
    expect(line?.[1]?.trim()).toBe(selected);
  });

  test.each([
    ['another method', { method: 'POST', headers: handshake }],
    ['another protocol', { method: 'GET', headers: { ...handshake, upgrade: 'h2c' } }],
    ['another version', { method: 'GET', headers: { ...handshake, 'sec-websocket-version': '8' } }],
    ['a key that is none', { method: 'GET', headers: { ...handshake, 'sec-websocket-key': 'abc' } }],
    ['no key', { method: 'GET', headers: { upgrade: 'websocket', 'sec-websocket-version': '13' } }],
  ])('%s is no WebSocket', (_what, request) => {
    expect(acceptanceOf(request)).toBeUndefined();
    expect(asksInOrder(request)).toBe(false);
  });
});
