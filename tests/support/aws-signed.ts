// Signs requests that no AWS SDK would send (Signature Version 4), independently of src/.
import { createHash, createHmac } from 'node:crypto';
import type { Bellows, Credentials } from './bellows.ts';

const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();

export interface SignedOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly credentials?: Credentials;
  readonly now?: Date;
  /** What is signed instead of the body that is sent. */
  readonly signedBody?: string;
  readonly unsigned?: boolean;
}

/** @param path without a query, of characters that need no encoding */
export async function sendSigned(
  bellows: Bellows,
  method: string,
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  options: SignedOptions = {},
): Promise<{ readonly status: number; readonly headers: Headers; readonly text: string }> {
  const { accessKeyId, secretAccessKey } = options.credentials ?? bellows.credentials.tenants['default']!;
  const time = (options.now ?? new Date()).toISOString().replace(/[:-]|\.\d+/g, '');
  const day = time.slice(0, 8);
  const scope = `${day}/us-east-1/lambda/aws4_request`;
  const canonical = `${method}\n${path}\n\nhost:127.0.0.1:${bellows.port}\nx-amz-date:${time}\n\nhost;x-amz-date\n${sha256(options.signedBody ?? body)}`;
  const key = ['us-east-1', 'lambda', 'aws4_request'].reduce(hmac, hmac(`AWS4${secretAccessKey}`, day));
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${time}\n${scope}\n${sha256(canonical)}`).toString('hex');
  const answer = await fetch(bellows.url + path, {
    method,
    headers: {
      'x-amz-date': time,
      ...(options.unsigned === true
        ? {}
        : {
            authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=host;x-amz-date, Signature=${signature}`,
          }),
      ...options.headers,
    },
    ...(method === 'GET' ? {} : { body }),
  });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}
