// The event a function gets for a request at its URL: AWS's payload format 2.0, as text. Pure but for the clock's text.
// The format is in "Invoking Lambda function URLs" of the developer guide. Built by hand where measured faster than
// one JSON.stringify over the whole; every string still goes through it.
import { isUtf8 } from 'node:buffer';
import type { WorkloadKey } from '../../base/ids.ts';
import type { FunctionRequest } from '../exchange.ts';
import { requestTime } from '../request-time.ts';
import { readEventHeaders, traceHeader, type EventHeaders, type EventParts } from './event-headers.ts';

export interface UrlRequest {
  readonly request: Pick<FunctionRequest, 'method' | 'headers' | 'httpVersion' | 'hop'>;
  /** Path and query below the function's own root, as they came. */
  readonly url: string;
  readonly body: Buffer;
  readonly requestId: string;
  readonly nowMs: number;
  /** The function's name and tenant stand for what AWS calls the URL's id and account. */
  readonly key: WorkloadKey;
  readonly accountId: string;
}

/** What AWS passes as text; everything else is base64. */
const textTypes =
  /^(?:text\/|application\/(?:json|javascript|xml|graphql)(?:$|;| )|application\/[a-z0-9.+-]+\+(?:json|xml)(?:$|;| ))/i;

export function buildEvent(given: UrlRequest): string {
  const { body, requestId, nowMs } = given;
  const headers = (given.request.headers.eventHeaders ??= readEventHeaders(
    given.request.headers.raw,
    given.request.hop,
  ));
  const { opening, middle } = partsOf(given, headers);
  const { trace, time } = textsOfSecond(nowMs);
  const traceMember = headers.traceId === undefined ? `${trace}${traceRandom(requestId)}"` : '';
  return `${opening}${traceMember}${middle}${requestId}${time}${nowMs}},${bodyMembers(body, headers)}}`;
}

function partsOf({ request, url, key, accountId }: UrlRequest, headers: EventHeaders): EventParts {
  const { method } = request;
  const last = headers.lastParts;
  if (last?.url === url && last.method === method && last.key === key && last.accountId === accountId)
    return last;
  const queryAt = url.indexOf('?');
  const rawQuery = queryAt < 0 ? '' : url.slice(queryAt + 1);
  const path = JSON.stringify(queryAt < 0 ? url : url.slice(0, queryAt));
  const id = JSON.stringify(key.replace('/', '.'));
  const query = rawQuery === '' ? '' : `"queryStringParameters":${JSON.stringify(readQuery(rawQuery))},`;
  // Joined, for a string that was put together by `+` is put together again wherever it is used.
  const opening = [
    `{"version":"2.0","routeKey":"$default","rawPath":${path},"rawQueryString":${JSON.stringify(rawQuery)},`,
    `${headers.cookies}"headers":{${headers.members}`,
  ].join('');
  const middle = [
    `},${query}"requestContext":{"accountId":${JSON.stringify(accountId)},"apiId":${id},`,
    `"domainName":${headers.domainName},"domainPrefix":${id},`,
    `"http":{"method":"${method}","path":${path},"protocol":"HTTP/${request.httpVersion}",`,
    `"sourceIp":"${headers.sourceIp}","userAgent":${headers.userAgent}},"requestId":"`,
  ].join('');
  return (headers.lastParts = { method, url, key, accountId, opening, middle });
}

/** 96 random bits of an AWS X-Ray trace id, of which a request id (a UUID) has more. */
function traceRandom(requestId: string): string {
  return requestId.slice(0, 8) + requestId.slice(9, 13) + requestId.slice(24);
}

/** Decoded, several values of one name joined by commas. */
function readQuery(rawQuery: string): Record<string, string> {
  const parameters = Object.create(null) as Record<string, string>;
  for (const [name, value] of new URLSearchParams(rawQuery)) {
    const earlier = parameters[name];
    parameters[name] = earlier === undefined ? value : `${earlier},${value}`;
  }
  return parameters;
}

function bodyMembers(body: Buffer, { contentType, contentEncoding }: EventHeaders): string {
  if (body.length === 0) return '"isBase64Encoded":false';
  const isText = textTypes.test(contentType) && contentEncoding === '' && isUtf8(body);
  if (isText) return `"body":${JSON.stringify(body.toString('utf8'))},"isBase64Encoded":false`;
  return `"body":"${body.toString('base64')}","isBase64Encoded":true`;
}

interface TextsOfSecond {
  readonly second: number;
  /** The trace's header up to its random part: a version, and the time in seconds. */
  readonly trace: string;
  /** From after the request id up to the milliseconds; the time is `12/Mar/2020:19:03:58 +0000`. */
  readonly time: string;
}
let ofLastSecond: TextsOfSecond = { second: Number.NaN, trace: '', time: '' };

function textsOfSecond(nowMs: number): TextsOfSecond {
  const second = Math.floor(nowMs / 1000);
  if (ofLastSecond.second === second) return ofLastSecond;
  return (ofLastSecond = {
    second,
    trace: [`,"${traceHeader}":"Root=1-`, second.toString(16), '-'].join(''),
    time: ['","routeKey":"$default","stage":"$default","time":"', requestTime(nowMs), '","timeEpoch":'].join(
      '',
    ),
  });
}
