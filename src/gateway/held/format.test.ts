// What held connections say to functions and what functions answer, beyond what held.test.ts shows from outside.
import { describe, expect, test } from 'vitest';
import type { WorkloadKey } from '../../base/ids.ts';
import { defaultRouteSelectionExpression, routeSelectionPath } from '../../model/websocket.ts';
import { clientOf } from '../hop.ts';
import { readAnswer } from './answer.ts';
import { connectEvent, disconnectEvent, messageEvent } from './event.ts';
import { connectionIdIn } from './management.ts';
import { routeKeyOf } from './route-key.ts';

describe('the route of a message', () => {
  const routes = new Set(['$connect', '$disconnect', '$default', 'send', '7']);
  const byAction = routeSelectionPath(defaultRouteSelectionExpression);
  test.each([
    ['{"action":"send"}', 'send'],
    ['{"action":7}', '7'],
    ['{"action":"other"}', '$default'],
    ['{"action":"$connect"}', '$default'],
    ['{"action":"$disconnect"}', '$default'],
    ['{"action":{"a":1}}', '$default'],
    ['{}', '$default'],
    ['null', '$default'],
    ['"send"', '$default'],
    ['no JSON', '$default'],
    [undefined, '$default'],
  ])('of %s is %s', (body, key) => {
    expect(routeKeyOf(body, byAction, routes)).toBe(key);
  });

  test('is none where nothing fits', () => {
    expect(routeKeyOf('{"action":"other"}', byAction, new Set(['send']))).toBeUndefined();
    expect(routeKeyOf(undefined, byAction, new Set(['send']))).toBeUndefined();
  });

  test('is found deeper, with or without braces, and only in what the message itself has', () => {
    for (const expression of ['$request.body.a.b-c', '${request.body.a.b-c}']) {
      expect(routeKeyOf('{"a":{"b-c":"send"}}', routeSelectionPath(expression), routes)).toBe('send');
    }
    const named = new Set(['$default', 'Object', 'x']);
    expect(routeKeyOf('{}', ['constructor', 'name'], named)).toBe('$default');
  });
});

describe("a function's answer", () => {
  const read = (value: unknown) => readAnswer(Buffer.from(JSON.stringify(value) ?? ''));
  test.each([
    [undefined],
    [null],
    ['text'],
    [1],
    [[]],
    [{}],
    [{ statusCode: 'x' }],
    [{ statusCode: 200, body: {} }],
  ])('%j is none', (value) => expect(read(value)).toBeUndefined());

  test('has a status, text or bytes, and the subprotocol in whatever case it is named', () => {
    expect(read({ statusCode: '201' })).toEqual({ status: 201, body: undefined, protocol: undefined });
    expect(read({ statusCode: 200, body: 'ä', headers: { 'SEC-websocket-protocol': 'chat' } })).toEqual({
      status: 200,
      body: 'ä',
      protocol: 'chat',
    });
    expect(read({ statusCode: 200, body: 'AP8=', isBase64Encoded: true })?.body).toEqual(
      Buffer.from([0, 255]),
    );
  });

  test('that is larger than a message may be is none', () => {
    expect(read({ statusCode: 200, body: 'x'.repeat(128 * 1024) })?.body).toHaveLength(128 * 1024);
    expect(read({ statusCode: 200, body: 'x'.repeat(128 * 1024 + 1) })).toBeUndefined();
  });
});

describe('the events', () => {
  const subject = { id: 'abc', connectedAtMs: Date.UTC(2020, 2, 12), sourceIp: '10.0.0.1', userAgent: 'me' };
  const context = {
    key: 'acme/chat' as WorkloadKey,
    authority: '192.168.1.5:8080',
    requestId: '00000001-aaaa-4bbb-8ccc-0123456789ab',
    nowMs: Date.UTC(2020, 2, 12, 19, 3, 58, 390),
  };
  const common = {
    extendedRequestId: context.requestId,
    requestTime: '12/Mar/2020:19:03:58 +0000',
    messageDirection: 'IN',
    stage: 'w/acme/chat',
    connectedAt: subject.connectedAtMs,
    requestTimeEpoch: context.nowMs,
    identity: { userAgent: 'me', sourceIp: '10.0.0.1' },
    requestId: context.requestId,
    domainName: '192.168.1.5:8080',
    connectionId: 'abc',
    apiId: 'acme.chat',
  };

  test('of a new connection have its headers and query, each name with its last value and with all', () => {
    const rawHeaders = [
      'Host',
      'evil.example',
      'X-A',
      '1',
      'X-A',
      '2',
      'x-forwarded-for',
      '1.1.1.1',
      '__proto__',
      'p',
    ];
    const hop = { peer: '10.0.0.1', port: 8080, secure: false, proxies: undefined };
    const client = clientOf(hop, 'evil.example', () => '1.1.1.1');
    const event = JSON.parse(
      connectEvent(subject, context, { request: { rawHeaders }, url: '/?a=1&a=%202&__proto__=q', client }),
    ) as object;
    expect(event).toEqual({
      headers: {
        Host: 'evil.example',
        'X-A': '2',
        ['__proto__']: 'p',
        'X-Amzn-Trace-Id': 'Root=1-5e6a879e-00000001aaaa4bbb8ccc0123',
        'X-Forwarded-For': '10.0.0.1',
        'X-Forwarded-Port': '8080',
        'X-Forwarded-Proto': 'http',
      },
      multiValueHeaders: {
        Host: ['evil.example'],
        'X-A': ['1', '2'],
        ['__proto__']: ['p'],
        'X-Amzn-Trace-Id': ['Root=1-5e6a879e-00000001aaaa4bbb8ccc0123'],
        'X-Forwarded-For': ['10.0.0.1'],
        'X-Forwarded-Port': ['8080'],
        'X-Forwarded-Proto': ['http'],
      },
      queryStringParameters: { a: ' 2', ['__proto__']: 'q' },
      multiValueQueryStringParameters: { a: ['1', ' 2'], ['__proto__']: ['q'] },
      requestContext: { routeKey: '$connect', eventType: 'CONNECT', ...common },
      isBase64Encoded: false,
    });
  });

  test('of a message have it as it came', () => {
    const event = messageEvent(subject, context, 'send', { body: '"ä"', isBase64Encoded: false });
    expect(JSON.parse(event)).toEqual({
      requestContext: { routeKey: 'send', eventType: 'MESSAGE', messageId: context.requestId, ...common },
      body: '"ä"',
      isBase64Encoded: false,
    });
  });

  test.each([
    [{ code: 4001, reason: 'enough' }, 'enough'],
    [{ code: 1005, reason: '' }, 'Client-side close frame status not set'],
    [{ code: 1006, reason: '' }, 'Connection closed abnormally'],
    [{ code: 3999, reason: '' }, ''],
  ])('of an end by %j say why', (ending, disconnectReason) => {
    const headers = { Host: '192.168.1.5:8080', 'x-api-key': '', 'X-Forwarded-For': '', 'x-restapi': '' };
    expect(JSON.parse(disconnectEvent(subject, context, ending))).toMatchObject({
      headers,
      requestContext: {
        routeKey: '$disconnect',
        eventType: 'DISCONNECT',
        disconnectStatusCode: ending.code,
        disconnectReason,
        ...common,
      },
      isBase64Encoded: false,
    });
  });
});

test.each([
  ['/@connections/a_b-c', 'a_b-c'],
  ['/%40connections/a%3D?x', 'a%3D'],
  ['/@connections/', undefined],
  ['/@connections/a/b', undefined],
  ['/x/@connections/a', undefined],
])('%s is about the connection %s', (url, id) => {
  expect(connectionIdIn(url)).toBe(id);
});
