// What is no HTTP, or not quite, byte by byte.
import { randomBytes } from 'node:crypto';

const mib = 1024 * 1024;
export const host = 'Host: localhost\r\n';
const post = (headers: string, body = ''): string =>
  `POST /w/default/stateful/upload HTTP/1.1\r\n${host}${headers}\r\n${body}`;
const smuggled = 'GET /w/default/stateful/state HTTP/1.1\r\nHost: localhost\r\n\r\n';
type RawCase = readonly [what: string, bytes: string | Buffer, status: number, message: RegExp];
export const rawCases: readonly RawCase[] = [
  [
    'a whole address and no token',
    `GET http://bellows.example/v1/tenants HTTP/1.1\r\n${host}\r\n`,
    401,
    /Authorization/,
  ],
  ['bytes by chance', randomBytes(4096), 400, /not valid HTTP/],
  [
    'the beginning of TLS',
    Buffer.concat([Buffer.from('16030100c8010000c40303', 'hex'), randomBytes(193)]),
    400,
    /not valid HTTP/,
  ],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, /not valid HTTP/],
  ['a method that is none', `DANCE / HTTP/1.1\r\n${host}\r\n`, 400, /method/],
  ['a version that is none', `GET / HTTP/3.7\r\n${host}\r\n`, 400, /version/],
  ['a request line of 1 MB', `GET /${'a'.repeat(mib)} HTTP/1.1\r\n${host}\r\n`, 431, /32768/],
  ['a header of 64 KB', `GET /healthz HTTP/1.1\r\n${host}A: ${'b'.repeat(65_536)}\r\n\r\n`, 431, /32768/],
  ['a flood of headers', `GET /healthz HTTP/1.1\r\n${host}${'A: b\r\n'.repeat(100_000)}\r\n`, 431, /32768/],
  ['no host', 'GET /healthz HTTP/1.1\r\n\r\n', 400, /Host/],
  ['two hosts', `GET /healthz HTTP/1.1\r\n${host}Host: stateful.default.localhost\r\n\r\n`, 400, /Host/],
  ['two lengths', post('Content-Length: 2\r\nContent-Length: 3\r\n', '{}'), 400, /Content-Length/],
  ['a length below zero', post('Content-Length: -1\r\n'), 400, /Content-Length/],
  ['a length in hexadecimal', post('Content-Length: 0x10\r\n'), 400, /Content-Length/],
  ['a length beyond numbers', post(`Content-Length: ${'9'.repeat(40)}\r\n`), 400, /Content-Length/],
  [
    'length, then chunks',
    post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${smuggled}`),
    400,
    /Transfer-Encoding/,
  ],
  [
    'chunks, then length',
    post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${smuggled}`),
    400,
    /Content-Length/,
  ],
  [
    'chunks that are not the last',
    post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${smuggled}`),
    400,
    /Transfer-Encoding|transfer/,
  ],
  [
    'chunks by another name',
    post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${smuggled}`),
    400,
    /Transfer-Encoding|transfer/,
  ],
  [
    'a space before the colon',
    post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${smuggled}`),
    400,
    /header/,
  ],
  ['a chunk of no size', post('Transfer-Encoding: chunked\r\n', 'zz\r\n'), 400, /chunk/],
  [
    'a chunk of endless size',
    post('Transfer-Encoding: chunked\r\n', `${'f'.repeat(40)}\r\n`),
    400,
    /[Cc]hunk/,
  ],
  [
    'a chunk longer than it says',
    post('Transfer-Encoding: chunked\r\n', '2\r\nabcdef\r\n0\r\n\r\n'),
    400,
    /chunk/,
  ],
  ['a NUL in a header', `GET /healthz HTTP/1.1\r\n${host}A: b\0c\r\n\r\n`, 400, /header/],
  ['lines that end with LF alone', 'GET /healthz HTTP/1.1\nHost: localhost\n\n', 400, /./],
  ['a lone CR', `GET /healthz HTTP/1.1\r\n${host}A: b\rC: d\r\n\r\n`, 400, /header/],
  ['CONNECT', `CONNECT example.com:443 HTTP/1.1\r\n${host}\r\n`, 405, /CONNECT/],
  ['an expectation that is none', post('Expect: cake\r\nContent-Length: 2\r\n', '{}'), 417, /Expect/],
  [
    'a WebSocket to nowhere',
    `GET /w/default/nobody/ HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    404,
    /nobody/,
  ],
  [
    'an upgrade of the API',
    `GET /v1/tenants HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    401,
    /Authorization/,
  ],
  ['a way up to files', `GET /assets/../../../../etc/passwd HTTP/1.1\r\n${host}\r\n`, 404, /./],
  [
    'a way up to files, encoded',
    `GET /assets/%2e%2e%2f%2e%2e%2fcredentials.json HTTP/1.1\r\n${host}\r\n`,
    404,
    /./,
  ],
  ['a host that is nobody', 'GET / HTTP/1.1\r\nHost: nobody.nowhere.localhost\r\n\r\n', 404, /nobody/],
  [
    'a body that is announced and never comes',
    `POST /v1/reclaim HTTP/1.1\r\n${host}Content-Length: 9007199254740991\r\n\r\n`,
    401,
    /Authorization/,
  ],
];
