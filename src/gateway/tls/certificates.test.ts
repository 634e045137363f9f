// Certificates that are given, and those that are made: what is refused, what is kept, and what is made anew.
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogger } from '../../sys/log.ts';
import { readCertificate } from './certificate.ts';
import { FileCertificates, LocalCertificates } from './certificates.ts';
import { authorityFilesOf, LocalAuthority } from './local-authority.ts';

const dayMs = 86_400_000;
const log = createLogger('gateway', 'silent');
let directory: string;
let nowMs: number;
const clock = (): number => nowMs;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-tls-'));
  // Ahead of the real clock, by which openssl says from when on what it makes is valid.
  nowMs = Date.now() + 60_000;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function put(name: string, content: string | Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** A certificate and its key in files of their own. */
async function putPair(name: string): Promise<{ certFile: string; keyFile: string }> {
  const authority = await LocalAuthority.open(directory, nowMs);
  const { cert, key } = await authority.certificateFor(undefined, nowMs);
  return { certFile: put(`${name}.pem`, cert), keyFile: put(`${name}.key`, key) };
}

describe('a given certificate', () => {
  test('that is good is read, with its key and until when it is good', async () => {
    const { expiresMs } = await readCertificate(await putPair('a'), nowMs);
    expect((expiresMs - nowMs) / dayMs).toBeCloseTo(90, 1);
  });

  test.each<[string, (good: { certFile: string; keyFile: string }) => object, RegExp]>([
    ['that is missing', () => ({ certFile: '/nowhere/a.pem' }), /The certificate .* is not there/],
    ['whose key is missing', () => ({ keyFile: '/nowhere/a.key' }), /The key .* is not there/],
    ['that is a directory', () => ({ certFile: directory }), /can not be read/],
    ['that is none', () => ({ certFile: put('x', 'hello') }), /is no certificate in PEM/],
    ['whose key is none', () => ({ keyFile: put('x', 'hello') }), /is no private key in PEM/],
    ['given twice', ({ certFile }) => ({ keyFile: certFile }), /is no private key in PEM/],
    [
      'whose key is encrypted',
      () => ({
        keyFile: put(
          'x',
          '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n',
        ),
      }),
      /is encrypted/,
    ],
  ])('%s is refused', async (_, bad, said) => {
    const good = await putPair('a');
    const refused = readCertificate({ ...good, ...bad(good) }, nowMs);
    await expect(refused).rejects.toMatchObject({
      code: 'InvalidCertificate',
      message: expect.stringMatching(said),
    });
  });

  test('with the key of another is refused', async () => {
    const [{ certFile }, { keyFile }] = [await putPair('a'), await putPair('b')];
    await expect(readCertificate({ certFile, keyFile }, nowMs)).rejects.toThrow(/does not belong to/);
  });

  test('that expired, or is not valid yet, is refused', async () => {
    const files = await putPair('a');
    await expect(readCertificate(files, nowMs + 91 * dayMs)).rejects.toThrow(/expired on/);
    await expect(readCertificate(files, nowMs - dayMs)).rejects.toThrow(/is valid from/);
  });

  test('is read again when its files change, and a bad one does not take its place', async () => {
    const files = await putPair('a');
    const certificates = new FileCertificates(files, log, clock);
    const first = await certificates.certificateFor();
    await certificates.refresh();
    expect(await certificates.certificateFor()).toBe(first);
    writeFileSync(files.certFile, 'half');
    await certificates.refresh();
    expect(await certificates.certificateFor()).toBe(first);
    const next = await putPair('b');
    writeFileSync(files.certFile, readFileSync(next.certFile));
    await certificates.refresh();
    expect(await certificates.certificateFor()).toBe(first);
    writeFileSync(files.keyFile, readFileSync(next.keyFile));
    await certificates.refresh();
    expect((await certificates.certificateFor()).cert).toEqual(readFileSync(next.certFile));
  });

  test('that is bad from the beginning is told to who connects, until there is a good one', async () => {
    const files = { certFile: join(directory, 'a.pem'), keyFile: join(directory, 'a.key') };
    const certificates = new FileCertificates(files, log, clock);
    await expect(certificates.certificateFor()).rejects.toThrow(/is not there/);
    await putPair('a');
    await certificates.refresh();
    expect((await certificates.certificateFor()).expiresMs).toBeGreaterThan(nowMs);
  });
});

describe('certificates for localhost', () => {
  test('that several gateways make at their first start are of one authority, which is the one in the file', async () => {
    const gateways = Array.from({ length: 4 }, () => new LocalCertificates(directory, () => true, clock));
    const made = await Promise.all(gateways.map((gateway) => gateway.certificateFor(undefined)));
    const authority = new X509Certificate(readFileSync(authorityFilesOf(directory).certificate));
    for (const { cert } of made) expect(new X509Certificate(cert).verify(authority.publicKey)).toBe(true);
  });

  const known = new Set(['acme']);
  const make = (): LocalCertificates =>
    new LocalCertificates(directory, (tenant) => known.has(tenant), clock);
  const namesOf = (cert: string | Buffer): string => new X509Certificate(cert).subjectAltName ?? '';

  test('are signed by an authority for localhost alone, whose files only their owner can read', async () => {
    const { cert } = await make().certificateFor(undefined);
    const files = authorityFilesOf(directory);
    const authority = new X509Certificate(readFileSync(files.certificate));
    expect(new X509Certificate(cert).verify(authority.publicKey)).toBe(true);
    expect(authority.ca).toBe(true);
    for (const path of [files.certificate, files.key]) expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(namesOf(cert)).toBe(
      'DNS:localhost, DNS:*.localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
    );
  });

  test('name the hosts of the tenant that is asked for, and of nobody who is not there', async () => {
    const certificates = make();
    expect(namesOf((await certificates.certificateFor('Shop.ACME.localhost')).cert)).toContain(
      'DNS:*.acme.localhost',
    );
    const unknown = await certificates.certificateFor('shop.nobody.localhost');
    expect(namesOf(unknown.cert)).not.toContain('nobody');
    for (const name of ['localhost', 'example.com', 'a.b.c.localhost', '.acme.localhost', undefined])
      expect(await certificates.certificateFor(name)).toBe(unknown);
  });

  test('are made once for all who ask at once, and by the same authority after a restart', async () => {
    const certificates = make();
    const asked = await Promise.all([1, 2, 3].map(() => certificates.certificateFor('a.acme.localhost')));
    expect(new Set(asked).size).toBe(1);
    const authority = readFileSync(authorityFilesOf(directory).certificate, 'utf8');
    await make().certificateFor(undefined);
    expect(readFileSync(authorityFilesOf(directory).certificate, 'utf8')).toBe(authority);
  });

  test('are made anew before they expire, and the authority is too', async () => {
    const certificates = make();
    const first = await certificates.certificateFor(undefined);
    nowMs += 50 * dayMs;
    await certificates.refresh();
    expect(await certificates.certificateFor(undefined)).toBe(first);
    nowMs += 15 * dayMs;
    await certificates.refresh();
    expect(await certificates.certificateFor(undefined)).not.toBe(first);
    const authority = readFileSync(authorityFilesOf(directory).certificate, 'utf8');
    nowMs += 3400 * dayMs;
    await make().certificateFor(undefined);
    expect(readFileSync(authorityFilesOf(directory).certificate, 'utf8')).not.toBe(authority);
  });

  test('a damaged authority is made anew', async () => {
    await make().certificateFor(undefined);
    const { key } = authorityFilesOf(directory);
    writeFileSync(key, 'damaged');
    await make().certificateFor(undefined);
    expect(readFileSync(key, 'utf8')).toContain('PRIVATE KEY');
  });
});
