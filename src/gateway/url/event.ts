// The event a function gets for a request at its URL: AWS's payload format 2.0, as text. Pure but for the clock's text.
// The format is in "Invoking Lambda function URLs" of the developer guide. Built by hand where measured faster than
// one JSON.stringify over the whole; every string still goes through it.
import { isUtf8 } from 'node:buffer';

export interface UrlRequest {
  readonly method: string;
  /** Path and query as they came. */
  readonly url: string;
  /** Names and values in turn, as Node gives them. */
  readonly rawHeaders: readonly string[];
  /** Undefined when there is none. */
  readonly body: Buffer | undefined;
  readonly httpVersion: string;
  readonly sourceIp: string;
  readonly requestId: string;
  readonly nowMs: number;
  /** The function's name and tenant stand for what AWS calls the URL's id and account. */
  readonly apiId: string;
  readonly accountId: string;
}

/** What AWS passes as text; everything else is base64. */
const textTypes =
  /^(?:text\/|application\/(?:json|javascript|xml|graphql)(?:$|;| )|application\/[a-z0-9.+-]+\+(?:json|xml)(?:$|;| ))/i;

export function buildEvent(request: UrlRequest): string {
  const { url } = request;
  const queryAt = url.indexOf('?');
  const rawPath = queryAt < 0 ? url : url.slice(0, queryAt);
  const rawQuery = queryAt < 0 ? '' : url.slice(queryAt + 1);
  const { members, cookies, host, userAgent, contentType, contentEncoding } = readHeaders(
    request.rawHeaders,
    request.sourceIp,
  );
  const path = JSON.stringify(rawPath);
  const apiId = JSON.stringify(request.apiId);
  let event =
    `{"version":"2.0","routeKey":"$default","rawPath":${path},"rawQueryString":${JSON.stringify(rawQuery)},` +
    `${cookies === undefined ? '' : `"cookies":${JSON.stringify(cookies)},`}"headers":{${members}},`;
  if (rawQuery !== '') event += `"queryStringParameters":${JSON.stringify(readQuery(rawQuery))},`;
  event +=
    `"requestContext":{"accountId":${JSON.stringify(request.accountId)},"apiId":${apiId},` +
    `"domainName":${JSON.stringify(withoutPort(host))},"domainPrefix":${apiId},` +
    `"http":{"method":"${request.method}","path":${path},"protocol":"HTTP/${request.httpVersion}",` +
    `"sourceIp":"${request.sourceIp}","userAgent":${JSON.stringify(userAgent)}},` +
    `"requestId":"${request.requestId}","routeKey":"$default","stage":"$default",` +
    `"time":"${timeText(request.nowMs)}","timeEpoch":${request.nowMs}},`;
  return `${event}${bodyMembers(request.body, contentType, contentEncoding)}}`;
}

interface Headers {
  /** What stands between the braces of the JSON object. */
  readonly members: string;
  readonly cookies: string[] | undefined;
  readonly host: string;
  readonly userAgent: string;
  readonly contentType: string;
  readonly contentEncoding: string;
}

/** Names in lower case, several values of one name joined by commas, cookies apart, and who sent it through what. */
function readHeaders(rawHeaders: readonly string[], sourceIp: string): Headers {
  const names: string[] = [];
  const values: string[] = [];
  let cookies: string[] | undefined;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    const value = rawHeaders[index + 1] ?? '';
    if (name === 'cookie') {
      cookies ??= [];
      for (const cookie of value.split(';')) if (cookie.trim() !== '') cookies.push(cookie.trim());
      continue;
    }
    const earlier = names.indexOf(name);
    if (earlier < 0) {
      names.push(name);
      values.push(value);
    } else values[earlier] += `,${value}`;
  }
  const valueOf = (name: string): string | undefined => values[names.indexOf(name)];
  // A header's name is an RFC 9110 token, as the parser has seen to: nothing in it needs escaping.
  let members = '';
  for (const [index, name] of names.entries()) {
    const value = values[index] ?? '';
    members += `"${name}":${JSON.stringify(name === 'x-forwarded-for' ? `${value},${sourceIp}` : value)},`;
  }
  if (!names.includes('x-forwarded-for')) members += `"x-forwarded-for":"${sourceIp}",`;
  members += names.includes('x-forwarded-proto') ? '' : '"x-forwarded-proto":"http",';
  return {
    members: members.slice(0, -1),
    cookies,
    host: valueOf('host') ?? '',
    userAgent: valueOf('user-agent') ?? '',
    contentType: valueOf('content-type') ?? '',
    contentEncoding: valueOf('content-encoding') ?? '',
  };
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

function bodyMembers(body: Buffer | undefined, contentType: string, contentEncoding: string): string {
  if (body === undefined || body.length === 0) return '"isBase64Encoded":false';
  const isText = textTypes.test(contentType) && contentEncoding === '' && isUtf8(body);
  if (isText) return `"body":${JSON.stringify(body.toString('utf8'))},"isBase64Encoded":false`;
  return `"body":"${body.toString('base64')}","isBase64Encoded":true`;
}

function withoutPort(host: string): string {
  const colon = host.lastIndexOf(':');
  return colon < 0 || host.endsWith(']') ? host : host.slice(0, colon);
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
let timeOfSecond = { second: Number.NaN, text: '' };

/** `12/Mar/2020:19:03:58 +0000`; made once a second. */
function timeText(nowMs: number): string {
  const second = Math.floor(nowMs / 1000);
  if (timeOfSecond.second !== second) {
    const date = new Date(nowMs);
    const two = (value: number): string => String(value).padStart(2, '0');
    const day = `${two(date.getUTCDate())}/${months[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
    const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
    timeOfSecond = { second, text: `${day}:${time} +0000` };
  }
  return timeOfSecond.text;
}
