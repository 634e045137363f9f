// Verifies AWS Signature Version 4, in an Authorization header or in a presigned query.
// Owns what is accepted, the errors (in AWS's words) and the cache of signing keys. No I/O: time and keys are passed in.
import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import { LambdaError } from './lambda/errors.ts';
import { canonicalHeaders, canonicalPath, canonicalQuery, queryPairs } from './sigv4-canonical.ts';

const algorithm = 'AWS4-HMAC-SHA256';
/** AWS's own tolerance between the caller's clock and ours. */
const maxSkewMs = 5 * 60_000;
/** AWS's longest life of a presigned request: one week. */
const maxPresignedSeconds = 604_800;
/** Where the caller may say what the body hashes to; signed, as all of its kind are. */
const contentHash = 'x-amz-content-sha256';
/** One per access key, day, region and service; emptied when full, since each costs only four HMACs to make. */
const maxCachedKeys = 1000;

export interface SignedRequest {
  readonly method: string;
  /** As it came in the request line: path and query, still encoded. */
  readonly url: string;
  /** Names and values in turn, as Node gives them. */
  readonly rawHeaders: readonly string[];
  readonly body: Uint8Array | string;
}

export interface SignatureVerifierOptions<C extends { readonly secretAccessKey: string }> {
  /** Whose access key it is; undefined for nobody's. */
  readonly credentialOf: (accessKeyId: string) => C | undefined;
  /** Wall-clock time: signatures carry one. */
  readonly nowMs: () => number;
  /** The service that callers must have signed for. */
  readonly service: string;
}

/** Who signed, and for which region: AWS's answers name it in ARNs. */
export interface Verified<C> {
  readonly credential: C;
  readonly region: string;
}

/** What the caller says it did; nothing of it is proven yet. */
interface Claim {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  readonly timestamp: string;
  /** Null in the header form. */
  readonly expiresSeconds: number | null;
}

export class SignatureVerifier<C extends { readonly secretAccessKey: string }> {
  readonly #options: SignatureVerifierOptions<C>;
  readonly #keys = new Map<string, { readonly secret: string; readonly key: Buffer }>();

  constructor(options: SignatureVerifierOptions<C>) {
    this.#options = options;
  }

  /**
   * As much as can be said before the body is there. Who says what it hashes to has signed that as well, so it is proven who
   * sends it; else nothing may be given away on its word.
   * @throws LambdaError when nobody could have signed so
   */
  verifyHead(head: Omit<SignedRequest, 'body'>): Verified<C> & { readonly proven: boolean } {
    const claimed = headerValue(head.rawHeaders, contentHash);
    return { ...this.#verify(head, () => claimed), proven: claimed !== undefined };
  }

  /** @throws LambdaError with one of the four exceptions that AWS gives for signatures */
  verify(request: SignedRequest): Verified<C> {
    return this.#verify(request, (claim) => payloadHash(request, claim));
  }

  /** @param hashOf what the body hashes to; undefined when that is not known yet */
  #verify(request: Omit<SignedRequest, 'body'>, hashOf: (claim: Claim) => string | undefined): Verified<C> {
    const queryAt = request.url.indexOf('?');
    const path = queryAt < 0 ? request.url : request.url.slice(0, queryAt);
    const pairs = queryAt < 0 ? [] : queryPairs(request.url.slice(queryAt + 1));
    const claim = readClaim(request.rawHeaders, pairs);

    const credential = this.#credentialOf(claim);
    if (claim.service !== this.#options.service) {
      throw invalid(`Credential should be scoped to correct service: '${this.#options.service}'.`);
    }
    if (!claim.timestamp.startsWith(claim.date)) {
      throw invalid(
        `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${claim.date}' != '${claim.timestamp}'.`,
      );
    }
    checkTime(claim, this.#options.nowMs());

    const bodyHash = hashOf(claim);
    if (bodyHash === undefined) return { credential, region: claim.region };
    const canonical = canonicalRequest(request, claim, path, pairs, bodyHash);
    const expected = this.#signature(claim, canonical, credential.secretAccessKey);
    const given = Buffer.from(claim.signature, 'latin1');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw invalid(
        'The request signature we calculated does not match the signature you provided. ' +
          'Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
      );
    }
    return { credential, region: claim.region };
  }

  #credentialOf({ accessKeyId }: Claim): C {
    const credential = this.#options.credentialOf(accessKeyId);
    if (credential !== undefined) return credential;
    throw new LambdaError(
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
    );
  }

  #signature(claim: Claim, canonical: string, secret: string): Buffer {
    const scope = `${claim.date}/${claim.region}/${claim.service}/aws4_request`;
    const toSign = `${algorithm}\n${claim.timestamp}\n${scope}\n${hash('sha256', canonical)}`;
    return Buffer.from(
      createHmac('sha256', this.#signingKey(claim, secret)).update(toSign).digest('hex'),
      'latin1',
    );
  }

  #signingKey(claim: Claim, secret: string): Buffer {
    const name = `${claim.accessKeyId}/${claim.date}/${claim.region}/${claim.service}`;
    const cached = this.#keys.get(name);
    if (cached?.secret === secret) return cached.key;
    const steps = [claim.date, claim.region, claim.service, 'aws4_request'];
    const key = steps.reduce<Buffer>(
      (parent, step) => createHmac('sha256', parent).update(step).digest(),
      Buffer.from(`AWS4${secret}`),
    );
    if (this.#keys.size >= maxCachedKeys) this.#keys.clear();
    this.#keys.set(name, { secret, key });
    return key;
  }
}

function canonicalRequest(
  { method, rawHeaders }: Omit<SignedRequest, 'body'>,
  { signedHeaders }: Claim,
  path: string,
  pairs: [string, string][],
  bodyHash: string,
): string {
  const headers = canonicalHeaders(rawHeaders, signedHeaders);
  if (headers === undefined) throw invalid('A header that was signed is not in the request.');
  return `${method}\n${canonicalPath(path)}\n${canonicalQuery(pairs)}\n${headers}\n${signedHeaders.join(';')}\n${bodyHash}`;
}

function invalid(message: string): LambdaError {
  return new LambdaError('InvalidSignatureException', message);
}

function incomplete(message: string): LambdaError {
  return new LambdaError('IncompleteSignatureException', message);
}

function headerValue(rawHeaders: readonly string[], name: string): string | undefined {
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() === name) return rawHeaders[index + 1];
  }
  return undefined;
}

function readClaim(rawHeaders: readonly string[], pairs: readonly [string, string][]): Claim {
  const authorization = headerValue(rawHeaders, 'authorization');
  if (authorization !== undefined)
    return withSignedHeadersChecked(headerClaim(authorization, rawHeaders), rawHeaders);
  const query = new Map(pairs);
  if (query.has('X-Amz-Algorithm') || query.has('X-Amz-Signature'))
    return withSignedHeadersChecked(queryClaim(query), rawHeaders);
  throw new LambdaError('MissingAuthenticationTokenException', 'Missing Authentication Token');
}

function headerClaim(authorization: string, rawHeaders: readonly string[]): Claim {
  const space = authorization.indexOf(' ');
  if ((space < 0 ? authorization : authorization.slice(0, space)) !== algorithm) {
    throw incomplete(
      `Unsupported AWS 'algorithm': '${authorization.slice(0, Math.max(space, 0)).slice(0, 40)}', use '${algorithm}'.`,
    );
  }
  let credential: string | undefined;
  let signedHeaders: string | undefined;
  let signature: string | undefined;
  for (const part of authorization.slice(space + 1).split(',')) {
    const at = part.indexOf('=');
    const value = part.slice(at + 1).trim();
    switch (at > 0 ? part.slice(0, at).trim() : '') {
      case 'Credential':
        credential = value;
        break;
      case 'SignedHeaders':
        signedHeaders = value;
        break;
      case 'Signature':
        signature = value;
        break;
    }
  }
  const timestamp = headerValue(rawHeaders, 'x-amz-date');
  if (
    credential === undefined ||
    signedHeaders === undefined ||
    signature === undefined ||
    timestamp === undefined
  ) {
    const words = Object.entries({
      Credential: credential,
      Signature: signature,
      SignedHeaders: signedHeaders,
    })
      .filter(([, value]) => value === undefined)
      .map(([name]) => `Authorization header requires '${name}' parameter.`);
    if (timestamp === undefined)
      words.push("Authorization header requires existence of a 'X-Amz-Date' header.");
    throw incomplete(words.join(' '));
  }
  return {
    ...readScope(credential),
    signedHeaders: signedHeaders.split(';'),
    signature,
    timestamp,
    expiresSeconds: null,
  };
}

function queryClaim(query: ReadonlyMap<string, string>): Claim {
  const required = [
    'X-Amz-Algorithm',
    'X-Amz-Credential',
    'X-Amz-Signature',
    'X-Amz-SignedHeaders',
    'X-Amz-Date',
    'X-Amz-Expires',
  ];
  const missing = required.filter((name) => !query.has(name));
  if (missing.length > 0)
    throw incomplete(
      `AWS query-string parameters must include ${missing.map((name) => `'${name}'`).join(', ')}.`,
    );
  if (query.get('X-Amz-Algorithm') !== algorithm)
    throw incomplete(`Unsupported AWS 'algorithm', use '${algorithm}'.`);
  const expires = query.get('X-Amz-Expires') ?? '';
  if (!/^\d{1,6}$/.test(expires) || Number(expires) > maxPresignedSeconds) {
    throw incomplete(`X-Amz-Expires must be a number of seconds, at most ${maxPresignedSeconds}.`);
  }
  return {
    ...readScope(query.get('X-Amz-Credential') ?? ''),
    signedHeaders: (query.get('X-Amz-SignedHeaders') ?? '').split(';'),
    signature: query.get('X-Amz-Signature') ?? '',
    timestamp: query.get('X-Amz-Date') ?? '',
    expiresSeconds: Number(expires),
  };
}

type Scope = Pick<Claim, 'accessKeyId' | 'date' | 'region' | 'service'>;

let lastScope: { readonly credential: string; readonly scope: Scope } | undefined;

/** A caller's credential is the same for a day: the last one is remembered. */
function readScope(credential: string): Scope {
  if (lastScope?.credential === credential) return lastScope.scope;
  const scope = parseScope(credential);
  lastScope = { credential, scope };
  return scope;
}

function parseScope(credential: string): Scope {
  const [accessKeyId = '', date = '', region = '', service = '', end = '', ...more] = credential.split('/');
  const wellFormed =
    accessKeyId !== '' && /^\d{8}$/.test(date) && /^[a-z0-9-]{1,32}$/.test(region) && service !== '';
  if (!wellFormed || end !== 'aws4_request' || more.length > 0) {
    throw incomplete(
      `Credential must have 5 slash-separated elements, as KEYID/DATE/REGION/SERVICE/aws4_request, got '${credential.slice(0, 120)}'.`,
    );
  }
  return { accessKeyId, date, region, service };
}

/** What is not signed could have been added on the way: the host, and whatever changes what the request means. */
function withSignedHeadersChecked(claim: Claim, rawHeaders: readonly string[]): Claim {
  const names = claim.signedHeaders;
  if (!names.includes('host')) throw invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.");
  if (
    names.some(
      (name, index) => name !== name.toLowerCase() || (index > 0 && (names[index - 1] ?? '') >= name),
    )
  ) {
    throw invalid('SignedHeaders must be in lower case, sorted, each once.');
  }
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    if (name.startsWith('x-amz-') && !names.includes(name)) {
      throw invalid(`There were headers present in the request which were not signed: ${name}`);
    }
  }
  return claim;
}

let lastTimestamp = { text: '', timeMs: Number.NaN };

/** `20260131T120000Z` in milliseconds since the epoch, or NaN. Requests of one second carry the same: it is read once. */
function parseTimestamp(text: string): number {
  if (lastTimestamp.text === text) return lastTimestamp.timeMs;
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (match === null) return Number.NaN;
  const timeMs = Date.parse(`${match[1]}-${match[2]}-${match[3]}T${match[4]}:${match[5]}:${match[6]}Z`);
  lastTimestamp = { text, timeMs };
  return timeMs;
}

function formatTimestamp(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/[-:]|\.\d{3}/g, '');
}

function checkTime(claim: Claim, nowMs: number): void {
  const signedAtMs = parseTimestamp(claim.timestamp);
  if (Number.isNaN(signedAtMs)) {
    throw incomplete(
      `Date must be in ISO-8601 'basic format'. Got '${claim.timestamp.slice(0, 40)}'. See http://en.wikipedia.org/wiki/ISO_8601`,
    );
  }
  if (signedAtMs - maxSkewMs > nowMs) {
    throw invalid(
      `Signature not yet current: ${claim.timestamp} is still later than ${formatTimestamp(nowMs + maxSkewMs)} (${formatTimestamp(nowMs)} + 5 min.)`,
    );
  }
  if (claim.expiresSeconds !== null) {
    const endMs = signedAtMs + claim.expiresSeconds * 1000;
    if (endMs < nowMs)
      throw invalid(
        `Signature expired: ${formatTimestamp(nowMs)} is now later than ${formatTimestamp(endMs)}`,
      );
  } else if (signedAtMs + maxSkewMs < nowMs) {
    throw invalid(
      `Signature expired: ${claim.timestamp} is now earlier than ${formatTimestamp(nowMs - maxSkewMs)} (${formatTimestamp(nowMs)} - 5 min.)`,
    );
  }
}

/** The hash that the caller signed, after checking that the body has it. */
function payloadHash(request: SignedRequest, claim: Claim): string {
  const claimed = headerValue(request.rawHeaders, contentHash);
  // The caller itself signed that the body is not covered; streamed bodies can not be.
  if (claimed === 'UNSIGNED-PAYLOAD' && claim.signedHeaders.includes(contentHash)) return claimed;
  const actual = hash('sha256', request.body);
  if (claimed !== undefined && claimed !== actual) {
    throw invalid("The value passed in as x-amz-content-sha256 does not match the body's hash.");
  }
  return actual;
}
