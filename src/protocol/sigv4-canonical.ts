// The canonical form of a request in AWS Signature Version 4: what both sides hash. Pure.
// The rules are in "Create a signed AWS API request" of the IAM user guide. Does not own keys or time (sigv4.ts).

/** RFC 3986 unreserved characters stay, everything else is %XX in upper case. */
function encodeStrict(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Text as the sender meant it; what is not valid percent-encoding stands for itself. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Nothing to encode or to normalise: most paths. No segment is empty or begins with a dot. */
const plainPath = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+$/;

/**
 * Every service but S3 signs the path normalised and encoded once more than it is sent: `%3A` becomes `%253A`.
 * @param rawPath the path as it came, still encoded, without the query
 */
export function canonicalPath(rawPath: string): string {
  if (plainPath.test(rawPath)) return rawPath;
  const segments: string[] = [];
  for (const segment of rawPath.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment === '..') segments.pop();
    else segments.push(encodeStrict(segment));
  }
  const trailing = segments.length > 0 && rawPath.endsWith('/') ? '/' : '';
  return `/${segments.join('/')}${trailing}`;
}

/** Name and value pairs of a raw query string, decoded, in the order they came. `+` is a plus sign in a signed query. */
export function queryPairs(rawQuery: string): [string, string][] {
  if (rawQuery === '') return [];
  return rawQuery
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const at = part.indexOf('=');
      return at < 0 ? [decode(part), ''] : [decode(part.slice(0, at)), decode(part.slice(at + 1))];
    });
}

/** Sorted by encoded name, then by encoded value; the signature itself is left out. */
export function canonicalQuery(pairs: readonly (readonly [string, string])[]): string {
  if (pairs.length === 0) return '';
  return pairs
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map(([name, value]) => [encodeStrict(name), encodeStrict(value)] as const)
    .sort(([name1, value1], [name2, value2]) => compare(name1, name2) || compare(value1, value2))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** By code unit, as the rules ask, not by locale. */
function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/**
 * The signed headers, one per line, each ended by a line feed.
 * @param rawHeaders names and values in turn, as Node gives them
 * @returns undefined when a signed header is not in the request
 */
export function canonicalHeaders(
  rawHeaders: readonly string[],
  signedNames: readonly string[],
): string | undefined {
  const values = new Map<string, string>();
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    const value = (rawHeaders[index + 1] ?? '').trim().replace(/[ \t]+/g, ' ');
    const earlier = values.get(name);
    values.set(name, earlier === undefined ? value : `${earlier},${value}`);
  }
  let text = '';
  for (const name of signedNames) {
    const value = values.get(name);
    if (value === undefined) return undefined;
    text += `${name}:${value}\n`;
  }
  return text;
}
