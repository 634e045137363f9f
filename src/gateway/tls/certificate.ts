// A certificate and its key as files hold them: read, and refused with what is wrong before anybody meets it.
// Owns those checks and their words. Does not own when files are read (certificates.ts), nor the authority that makes
// certificates where there is none (local-authority.ts).
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { BellowsError, messageOf } from '../../base/errors.ts';

export interface CertificateFiles {
  /** PEM: the certificate first, then those between it and the authority. */
  readonly certFile: string;
  /** PEM, not encrypted. */
  readonly keyFile: string;
}

export interface Certificate {
  /** PEM, as TLS servers take them. */
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  readonly context: SecureContext;
  /** The first moment at which it is of no use any more. */
  readonly expiresMs: number;
}

/** @throws BellowsError InvalidCertificate */
export async function readCertificate(
  { certFile, keyFile }: CertificateFiles,
  nowMs: number,
): Promise<Certificate> {
  const [cert, key] = await Promise.all([
    readPart('certificate', certFile, '--tls-cert'),
    readPart('key', keyFile, '--tls-key'),
  ]);
  const certificate = parseCertificate(cert, certFile);
  const privateKey = parseKey(key, keyFile);
  if (!certificate.checkPrivateKey(privateKey))
    throw invalid(
      `The key ${keyFile} does not belong to the certificate ${certFile}.`,
      "Give the key that the certificate was asked for with, and the server's certificate as the first in its file.",
    );
  const { validFromDate, validToDate } = certificate;
  if (validToDate.getTime() <= nowMs)
    throw invalid(
      `The certificate ${certFile} expired on ${validToDate.toISOString()}.`,
      'Renew it; Bellows reads the files again when they change.',
    );
  if (validFromDate.getTime() > nowMs)
    throw invalid(
      `The certificate ${certFile} is valid from ${validFromDate.toISOString()} on only.`,
      "Wait until then, or look at this machine's clock.",
    );
  return { cert, key, context: contextOf(cert, key, certFile), expiresMs: validToDate.getTime() };
}

/** @throws BellowsError InvalidCertificate for what OpenSSL refuses: a key that is too short, a damaged chain */
export function contextOf(cert: string | Buffer, key: string | Buffer, from: string): SecureContext {
  try {
    return createSecureContext({ cert, key, minVersion: oldestTls });
  } catch (thrown) {
    throw invalid(`The certificate ${from} can not be used: ${messageOf(thrown)}.`, 'Give another.', thrown);
  }
}

/** What is older has known attacks (RFC 8996). */
export const oldestTls = 'TLSv1.2';

async function readPart(what: string, path: string, option: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
    switch (code) {
      case 'ENOENT':
        throw invalid(`The ${what} ${path} is not there.`, `Name the file with ${option} FILE.`, thrown);
      case 'EACCES':
      case 'EPERM':
        throw invalid(
          `This user may not read the ${what} ${path}.`,
          'Make it readable for the user that runs Bellows.',
          thrown,
        );
      default:
        throw invalid(
          `The ${what} ${path} can not be read: ${messageOf(thrown)}.`,
          `Name a file with ${option} FILE.`,
          thrown,
        );
    }
  }
}

function parseCertificate(bytes: Buffer, path: string): X509Certificate {
  try {
    return new X509Certificate(bytes);
  } catch (thrown) {
    throw invalid(`${path} is no certificate in PEM.`, 'It begins with -----BEGIN CERTIFICATE-----.', thrown);
  }
}

function parseKey(bytes: Buffer, path: string): KeyObject {
  try {
    return createPrivateKey(bytes);
  } catch (thrown) {
    const encrypted = bytes.includes('ENCRYPTED');
    throw invalid(
      encrypted ? `The key ${path} is encrypted.` : `${path} is no private key in PEM.`,
      encrypted
        ? 'Give it without a passphrase, readable for the user that runs Bellows alone.'
        : 'It begins with -----BEGIN PRIVATE KEY-----.',
      thrown,
    );
  }
}

function invalid(message: string, hint: string, cause?: unknown): BellowsError {
  return new BellowsError('InvalidCertificate', message, hint, { cause });
}
