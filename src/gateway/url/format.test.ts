// AWS's payload format 2.0, both ways, beyond what invoke.test.ts shows from outside.
import { describe, expect, test } from 'vitest';
import type { WorkloadKey } from '../../base/ids.ts';
import { HeaderBlock } from '../header-block.ts';
import type { Hop } from '../hop.ts';
import { buildEvent } from './event.ts';
import { readPrelude, readResponse } from './response.ts';

const hop: Hop = { peer: '10.0.0.1', port: 8080, secure: false, proxies: undefined };

interface Given {
  readonly url?: string;
  readonly rawHeaders?: readonly string[];
  readonly body?: Buffer;
  readonly times?: number;
  readonly headers?: HeaderBlock;
}

function eventOf({ url = '/', rawHeaders, headers, body, times = 1 }: Given): Record<string, unknown> {
  const block = headers ?? new HeaderBlock(rawHeaders ?? ['Host', 'fn.acme.localhost:8080']);
  let event = '';
  for (let time = 1; time <= times; time += 1) {
    event = buildEvent({
      request: { method: 'GET', headers: block, httpVersion: '1.1', hop },
      url,
      body: body ?? Buffer.alloc(0),
      requestId: `0000000${time}-aaaa-4bbb-8ccc-0123456789ab`,
      nowMs: Date.UTC(2020, 2, 12, 19, 3, 58, 390),
      key: 'acme/fn' as WorkloadKey,
      accountId: '1',
    });
  }
  return JSON.parse(event) as Record<string, unknown>;
}

describe('the event', () => {
  test('has the members of the documented example', () => {
    expect(eventOf({})).toEqual({
      version: '2.0',
      routeKey: '$default',
      rawPath: '/',
      rawQueryString: '',
      headers: {
        host: 'fn.acme.localhost:8080',
        'x-forwarded-for': '10.0.0.1',
        'x-forwarded-proto': 'http',
        'x-forwarded-port': '8080',
        'x-amzn-trace-id': 'Root=1-5e6a879e-00000001aaaa0123456789ab',
      },
      requestContext: {
        accountId: '1',
        apiId: 'acme.fn',
        domainName: 'fn.acme.localhost',
        domainPrefix: 'acme.fn',
        http: { method: 'GET', path: '/', protocol: 'HTTP/1.1', sourceIp: '10.0.0.1', userAgent: '' },
        requestId: '00000001-aaaa-4bbb-8ccc-0123456789ab',
        routeKey: '$default',
        stage: '$default',
        time: '12/Mar/2020:19:03:58 +0000',
        timeEpoch: 1584039838390,
      },
      isBase64Encoded: false,
    });
  });

  test('requests that repeat their headers have all that is theirs alone', () => {
    const rawHeaders = ['Host', 'x', 'Cookie', 'a=1; b=2', 'User-Agent', 'me'];
    expect(eventOf({ rawHeaders, times: 2 })).toEqual({
      ...eventOf({ rawHeaders }),
      headers: {
        host: 'x',
        'user-agent': 'me',
        'x-forwarded-for': '10.0.0.1',
        'x-forwarded-proto': 'http',
        'x-forwarded-port': '8080',
        'x-amzn-trace-id': 'Root=1-5e6a879e-00000002aaaa0123456789ab',
      },
      requestContext: {
        ...(eventOf({ rawHeaders })['requestContext'] as object),
        requestId: '00000002-aaaa-4bbb-8ccc-0123456789ab',
      },
    });
    const headers = new HeaderBlock(rawHeaders);
    for (const url of ['/a?x=1', '/b', '/b?y=2', '/a?x=1']) {
      expect(eventOf({ headers, url })).toEqual(eventOf({ rawHeaders, url }));
    }
  });

  test("a caller's own trace id goes on", () => {
    const event = eventOf({ rawHeaders: ['Host', 'x', 'X-Amzn-Trace-Id', 'Root=1-a-b'] });
    expect(event['headers']).toMatchObject({ 'x-amzn-trace-id': 'Root=1-a-b' });
  });

  test.each([
    ['application/json', 'a', 'a'],
    ['application/problem+json; charset=utf-8', 'a', 'a'],
    ['text/plain', 'ä', 'ä'],
    ['TEXT/HTML', 'a', 'a'],
    ['application/x-www-form-urlencoded', 'a=b', null],
    ['image/png', 'a', null],
    ['', 'a', null],
    ['application/jsonish', 'a', null],
  ])('a body of type "%s" is text or base64', (type, body, text) => {
    const event = eventOf({ rawHeaders: ['content-type', type], body: Buffer.from(body) });
    expect(event['isBase64Encoded']).toBe(text === null);
    expect(event['body']).toBe(text ?? Buffer.from(body).toString('base64'));
  });

  test('what is not valid UTF-8, or compressed, is base64 whatever its type says', () => {
    expect(
      eventOf({ rawHeaders: ['content-type', 'text/plain'], body: Buffer.from([0xff]) })['isBase64Encoded'],
    ).toBe(true);
    expect(
      eventOf({
        rawHeaders: ['content-type', 'text/plain', 'content-encoding', 'gzip'],
        body: Buffer.from('a'),
      })['isBase64Encoded'],
    ).toBe(true);
  });

  test('headers of one name are joined, and hostile names and values stay data', () => {
    const event = eventOf({
      url: '/"\\?__proto__=1&a="',
      rawHeaders: ['A', '1', 'a', '2', '__proto__', '"}', 'X-Forwarded-For', '1.1.1.1'],
    });
    expect(event['headers']).toMatchObject({ a: '1,2', 'x-forwarded-for': '10.0.0.1' });
    expect(Object.entries(event['headers'] as object).find(([name]) => name === '__proto__')?.[1]).toBe('"}');
    expect(event['rawPath']).toBe('/"\\');
  });
});

const read = (value: unknown) =>
  readResponse(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));

describe('the answer', () => {
  test.each([
    ['"Hello, world!"', '"Hello, world!"'],
    ['{"message":"hi"}', '{"message":"hi"}'],
    ['[1]', '[1]'],
    ['null', 'null'],
  ])('a bare %s is sent as JSON', (payload, body) => {
    expect(read(payload)).toMatchObject({
      status: 200,
      body,
      headers: ['content-type', 'application/json', 'content-length', String(body.length)],
    });
  });

  test('a formatted one says everything itself', () => {
    const answer = read({
      statusCode: 201,
      headers: {
        'Content-Type': 'text/css',
        'X-N': 7,
        Connection: 'upgrade',
        'Content-Length': '999',
        gone: null,
      },
      cookies: ['a=1'],
      body: Buffer.from('ü').toString('base64'),
      isBase64Encoded: true,
    });
    expect(answer).toEqual({
      status: 201,
      headers: ['content-type', 'text/css', 'x-n', '7', 'set-cookie', 'a=1', 'content-length', '2'],
      body: Buffer.from('ü'),
    });
    expect(read({ statusCode: '404' })).toMatchObject({
      status: 404,
      body: '',
      headers: ['content-type', 'application/json', 'content-length', '0'],
    });
    expect(read({ statusCode: 204, body: 'x' })).toMatchObject({ body: '' });
  });

  test.each([
    ['no JSON', 'x'],
    ['no status that ends a request', { statusCode: 101 }],
    ['no status at all', { statusCode: 'ok' }],
    ['an object for a body', { statusCode: 200, body: {} }],
    ['a header that would begin another', { statusCode: 200, headers: { a: 'b\r\nSet-Cookie: x' } }],
    ['a name that is none', { statusCode: 200, headers: { 'a b': 'c' } }],
    ['a value that is none', { statusCode: 200, headers: { a: ['b'] } }],
    ['headers that are none', { statusCode: 200, headers: [] }],
    ['cookies that are none', { statusCode: 200, cookies: [1] }],
  ])('with %s is no answer', (_what, value) => {
    expect(read(value)).toBeUndefined();
  });

  test("a stream's head has its own defaults", () => {
    expect(readPrelude(Buffer.from('{"contentType":"text/plain"}'))).toEqual({
      status: 200,
      headers: ['content-type', 'text/plain'],
    });
    const integration = '{"contentType":"application/vnd.awslambda.http-integration-response"}';
    expect(readPrelude(Buffer.from(integration))?.headers).toEqual([
      'content-type',
      'application/octet-stream',
    ]);
    expect(readPrelude(Buffer.from('{"contentType":"a\\nb"}'))).toBeUndefined();
    expect(readPrelude(Buffer.from('nonsense'))).toBeUndefined();
  });
});
