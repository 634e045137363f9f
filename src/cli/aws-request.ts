// Signs a request as the AWS tools do (Signature Version 4), with a tenant's keys. Pure but for the time passed in.
// The canonical form is the same code that the gateway verifies with; src/protocol/sigv4.test.ts holds it to AWS's.
import { createHmac, hash } from 'node:crypto';
import { defaultRegion } from '../model/lambda.ts';
import { canonicalHeaders, canonicalPath, canonicalQuery, queryPairs } from '../protocol/sigv4-canonical.ts';
import type { AwsKeys } from './installation.ts';

const service = 'lambda';

export interface UnsignedRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** The headers to send: those given, and the signature's. */
export function signedHeaders(request: UnsignedRequest, keys: AwsKeys, now: Date): Record<string, string> {
  const timestamp = now.toISOString().replace(/[:-]|\.\d{3}/g, '');
  const date = timestamp.slice(0, 8);
  const headers: Record<string, string> = { ...request.headers, 'x-amz-date': timestamp };
  // `host` is sent by fetch itself.
  const signed: Record<string, string> = { ...headers, host: request.url.host };
  const names = Object.keys(signed)
    .map((name) => name.toLowerCase())
    .sort();
  const canonical = [
    request.method,
    canonicalPath(request.url.pathname),
    canonicalQuery(queryPairs(request.url.search.slice(1))),
    canonicalHeaders(Object.entries(signed).flat(), names) ?? '',
    names.join(';'),
    hash('sha256', request.body),
  ].join('\n');
  const scope = `${date}/${defaultRegion}/${service}/aws4_request`;
  const toSign = `AWS4-HMAC-SHA256\n${timestamp}\n${scope}\n${hash('sha256', canonical)}`;
  let key: Buffer | string = `AWS4${keys.secretAccessKey}`;
  for (const part of [date, defaultRegion, service, 'aws4_request'])
    key = createHmac('sha256', key).update(part).digest();
  const signature = createHmac('sha256', key).update(toSign).digest('hex');
  headers['authorization'] =
    `AWS4-HMAC-SHA256 Credential=${keys.accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return headers;
}
