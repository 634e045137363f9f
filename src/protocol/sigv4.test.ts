import { createHash } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LambdaError } from './lambda/errors.ts';
import { SignatureVerifier, type SignedRequest } from './sigv4.ts';
import { Sha256 } from './testing/sha256.ts';

const nowMs = Date.UTC(2026, 0, 31, 12, 0, 0);
const credentials = { accessKeyId: 'AKIABELLOWSTEST', secretAccessKey: 'secret/with+signs' };

interface Input {
  method?: string;
  path?: string;
  query?: Record<string, string | string[]>;
  headers?: Record<string, string>;
  body?: string;
  secretAccessKey?: string;
  accessKeyId?: string;
  service?: string;
  atMs?: number;
}

function prepare(input: Input) {
  const signer = new SignatureV4({
    credentials: {
      accessKeyId: input.accessKeyId ?? credentials.accessKeyId,
      secretAccessKey: input.secretAccessKey ?? credentials.secretAccessKey,
    },
    region: 'eu-central-1',
    service: input.service ?? 'lambda',
    sha256: Sha256,
  });
  const request = {
    method: input.method ?? 'POST',
    protocol: 'http:',
    hostname: '127.0.0.1',
    port: 8080,
    path: input.path ?? '/2015-03-31/functions/hello/invocations',
    query: input.query ?? {},
    headers: { host: '127.0.0.1:8080', ...input.headers },
    body: input.body ?? '{"a":1}',
  };
  return { signer, request, signingDate: new Date(input.atMs ?? nowMs) };
}

function onTheWire(
  request: { method: string; path: string; query?: Record<string, unknown>; headers: Record<string, string> },
  body: string,
): SignedRequest {
  const pairs = Object.entries(request.query ?? {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map(
      (one) => `${encodeURIComponent(name)}=${encodeURIComponent(String(one))}`,
    ),
  );
  return {
    method: request.method,
    url: pairs.length > 0 ? `${request.path}?${pairs.join('&')}` : request.path,
    rawHeaders: Object.entries(request.headers).flat(),
    body,
  };
}

async function signed(input: Input = {}): Promise<SignedRequest> {
  const { signer, request, signingDate } = prepare(input);
  return onTheWire(await signer.sign(request, { signingDate }), request.body);
}

async function presigned(input: Input = {}, expiresIn = 60): Promise<SignedRequest> {
  const { signer, request, signingDate } = prepare(input);
  return onTheWire(await signer.presign(request, { signingDate, expiresIn }), request.body);
}

function verifier(atMs = nowMs) {
  return new SignatureVerifier({
    credentialOf: (id) => (id === credentials.accessKeyId ? { ...credentials, tenant: 'acme' } : undefined),
    nowMs: () => atMs,
    service: 'lambda',
  });
}

test('who has signed what its body hashes to is proven by the head alone; who has not may still be refused by it', async () => {
  const { body: _, ...head } = await signed();
  expect(verifier().verifyHead(head)).toMatchObject({
    credential: { tenant: 'acme' },
    region: 'eu-central-1',
    proven: true,
  });
  const index = head.rawHeaders.findIndex((each) => each === 'x-amz-content-sha256');
  const other = head.rawHeaders.with(index + 1, '0'.repeat(64));
  expect(() => verifier().verifyHead({ ...head, rawHeaders: other })).toThrow(/does not match the signature/);
  expect(() => verifier().verifyHead({ ...head, url: '/elsewhere' })).toThrow(/does not match the signature/);
  const unhashed = { ...head, rawHeaders: unsignedHash(head.rawHeaders) };
  expect(verifier().verifyHead(unhashed)).toMatchObject({ credential: { tenant: 'acme' }, proven: false });
  expect(() => verifier(nowMs + 3_600_000).verifyHead(unhashed)).toThrow(/Signature expired/);
});

/** As of a caller that leaves the hash out. */
function unsignedHash(rawHeaders: readonly string[]): string[] {
  const index = rawHeaders.findIndex((each) => each === 'x-amz-content-sha256');
  return rawHeaders.toSpliced(index, 2).map((each) => each.replace('x-amz-content-sha256;', ''));
}

function refusal(request: SignedRequest, atMs = nowMs): LambdaError {
  try {
    verifier(atMs).verify(request);
  } catch (thrown) {
    if (thrown instanceof LambdaError) return thrown;
    throw thrown;
  }
  throw new Error('it was accepted');
}

describe("requests signed by the SDK's own signer", () => {
  test.each<[string, Input]>([
    ['as an invocation', {}],
    ['without a body', { method: 'GET', body: '' }],
    [
      'with an encoded ARN in the path',
      {
        path: '/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Ahello/invocations',
      },
    ],
    ['with dots, doubled and trailing slashes in the path', { path: '/2015-03-31//functions/./x/../hello/' }],
    [
      'with characters that are encoded differently by different people',
      { path: "/2015-03-31/functions/a!'()*~b" },
    ],
    ['with a query', { query: { Qualifier: '$LATEST', b: ['2', '1'], a: 'ä +/=&' } }],
    ['with names that sort differently encoded', { query: { a: '1', 'a-': '2', 'a b': '3', A: '4' } }],
    ['with spaces within a header', { headers: { 'x-amz-meta': '  a   b  ' } }],
    [
      'with its hash in a header',
      { headers: { 'x-amz-content-sha256': createHash('sha256').update('{"a":1}').digest('hex') } },
    ],
    [
      'with an unsigned body, said in a signed header',
      { headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } },
    ],
  ])('are accepted %s', async (_what, input) => {
    const answer = verifier().verify(await signed(input));
    expect(answer.credential.tenant).toBe('acme');
    expect(answer.region).toBe('eu-central-1');
  });

  test('are accepted presigned, until they expire', async () => {
    const request = await presigned({}, 60);
    expect(verifier(nowMs + 59_000).verify(request).credential.tenant).toBe('acme');
    expect(refusal(request, nowMs + 61_000).message).toMatch(/^Signature expired: /);
  });

  test('are accepted whatever the query holds', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(
          text.filter((name) => name !== '' && !/^x-amz-/i.test(name) && name !== '__proto__'),
          text,
          { maxKeys: 5 },
        ),
        async (query) => {
          expect(verifier().verify(await signed({ query })).credential.tenant).toBe('acme');
        },
      ),
      { numRuns: 100 },
    );
  });

  test('are accepted again and again with the key from the cache, and refused as soon as the secret is another', async () => {
    let secretAccessKey = credentials.secretAccessKey;
    const changing = new SignatureVerifier({
      credentialOf: () => ({ secretAccessKey }),
      nowMs: () => nowMs,
      service: 'lambda',
    });
    const request = await signed();
    changing.verify(request);
    changing.verify(request);
    secretAccessKey = 'rotated';
    expect(() => changing.verify(request)).toThrow(LambdaError);
  });
});

describe('what AWS refuses is refused in its words', () => {
  test.each<[string, () => Promise<SignedRequest>, string, RegExp]>([
    [
      'no signature',
      async () => ({ ...(await signed()), rawHeaders: ['Host', 'x'] }),
      'MissingAuthenticationTokenException',
      /^Missing Authentication Token$/,
    ],
    [
      'an unknown key',
      () => signed({ accessKeyId: 'AKIANOBODY' }),
      'UnrecognizedClientException',
      /security token .* is invalid/,
    ],
    [
      'a wrong secret',
      () => signed({ secretAccessKey: 'wrong' }),
      'InvalidSignatureException',
      /signature we calculated does not match/,
    ],
    [
      'another body',
      async () => ({ ...(await signed()), body: '{"a":2}' }),
      'InvalidSignatureException',
      /does not match/,
    ],
    [
      'another method',
      async () => ({ ...(await signed()), method: 'DELETE' }),
      'InvalidSignatureException',
      /does not match/,
    ],
    [
      'another path',
      async () => ({ ...(await signed()), url: '/2015-03-31/functions/other/invocations' }),
      'InvalidSignatureException',
      /does not match/,
    ],
    [
      'an added query',
      async () => ({ ...(await signed()), url: '/2015-03-31/functions/hello/invocations?Qualifier=1' }),
      'InvalidSignatureException',
      /does not match/,
    ],
    [
      'a presigned query for another body',
      async () => ({ ...(await presigned()), body: 'x' }),
      'InvalidSignatureException',
      /does not match/,
    ],
    [
      'a false body hash',
      () => signed({ headers: { 'x-amz-content-sha256': '0'.repeat(64) } }),
      'InvalidSignatureException',
      /x-amz-content-sha256/,
    ],
    [
      'another service',
      () => signed({ service: 's3' }),
      'InvalidSignatureException',
      /correct service: 'lambda'/,
    ],
    [
      '5 minutes late',
      () => signed({ atMs: nowMs - 301_000 }),
      'InvalidSignatureException',
      /^Signature expired: 20260131T115459Z is now earlier than 20260131T115500Z \(20260131T120000Z - 5 min\.\)$/,
    ],
    [
      '5 minutes early',
      () => signed({ atMs: nowMs + 301_000 }),
      'InvalidSignatureException',
      /^Signature not yet current: 20260131T120501Z is still later than 20260131T120500Z/,
    ],
    [
      'an x-amz header that was added on the way',
      async () => {
        const request = await signed();
        return { ...request, rawHeaders: [...request.rawHeaders, 'X-Amz-Invocation-Type', 'Event'] };
      },
      'InvalidSignatureException',
      /not signed: x-amz-invocation-type/,
    ],
    [
      'another algorithm',
      async () => ({ ...(await signed()), rawHeaders: ['host', 'x', 'authorization', 'Bearer abc'] }),
      'IncompleteSignatureException',
      /algorithm/,
    ],
    [
      'parts missing',
      async () => ({
        ...(await signed()),
        rawHeaders: ['host', 'x', 'authorization', 'AWS4-HMAC-SHA256 Credential=a'],
      }),
      'IncompleteSignatureException',
      /requires 'Signature' parameter\. .*requires 'SignedHeaders' parameter\. .*X-Amz-Date/,
    ],
    [
      'a malformed scope',
      async () => ({
        ...(await signed()),
        rawHeaders: [
          'host',
          'x',
          'x-amz-date',
          '20260131T120000Z',
          'authorization',
          'AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=0',
        ],
      }),
      'IncompleteSignatureException',
      /KEYID\/DATE\/REGION\/SERVICE/,
    ],
  ])('%s', async (_what, make, type, message) => {
    const error = refusal(await make());
    expect(error.type).toBe(type);
    expect(error.status).toBe(403);
    expect(error.message).toMatch(message);
  });

  test('whatever stands in the Authorization header, it is an answer and never a crash', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (authorization, date) => {
        const request = {
          method: 'POST',
          url: '/',
          rawHeaders: ['host', 'x', 'authorization', authorization, 'x-amz-date', date],
          body: '',
        };
        expect(refusal(request).status).toBe(403);
      }),
    );
  });
});
