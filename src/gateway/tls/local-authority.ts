// Certificates for this machine where nobody gave any: an authority of the data directory's own, which a person may trust
// once, and short-lived certificates that it signs. Made with the openssl program, which is on nearly every machine and
// kept up to date by the distribution: Node's own OpenSSL reads certificates and makes none, and a library for it would
// bring ten packages into every installation for two calls a month.
//
// The authority's key may sign for names below `localhost` and loopback addresses alone, and its certificate says so (RFC
// 5280, 4.2.1.10): who steals it can not use it against whoever trusts it anywhere else.
import { execFile } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { BellowsError, isMissing, messageOf } from '../../base/errors.ts';
import { writeFileAtomic } from '../../sys/atomic-file.ts';
import { tryLockFile, type FileLock } from '../../sys/file-lock.ts';
import { contextOf, type Certificate } from './certificate.ts';

const dayMs = 86_400_000;
/** People trust it by hand, so it lasts as long as an installation. */
const authorityDays = 3650;
/** Made anew while it still has a year: longer than any certificate that it has signed. */
const authorityRenewDays = 365;
/** As Let's Encrypt's; nobody keeps one of these, so that none is ever revoked. */
const certificateDays = 90;
/** An answer comes in some 10 ms; a machine that takes longer than this has other worries. */
const opensslMs = 20_000;
/** Who waits for another's authority waits longer than that may take. */
const lockMs = opensslMs + 5_000;
const lockPauseMs = 10;

/** Every certificate has these. `*.localhost` is told apart by few programs: most take no wildcard right below the root. */
const namesOfThisMachine = ['DNS:localhost', 'DNS:*.localhost', 'IP:127.0.0.1', 'IP:::1'];

export interface AuthorityFiles {
  /** What a client is to trust; it holds no secret. */
  readonly certificate: string;
  readonly key: string;
}

export function authorityFilesOf(dataDirectory: string): AuthorityFiles {
  const directory = directoryOf(dataDirectory);
  return { certificate: join(directory, 'ca.pem'), key: join(directory, 'ca.key') };
}

const directoryOf = (dataDirectory: string): string => join(dataDirectory, 'tls');

export class LocalAuthority {
  readonly #directory: string;
  readonly #self: Signer;

  private constructor(directory: string, self: Signer) {
    this.#directory = directory;
    this.#self = self;
  }

  /** The data directory's; made when there is none, or when it is about to expire. @throws BellowsError Unavailable */
  static async open(dataDirectory: string, nowMs: number): Promise<LocalAuthority> {
    const files = authorityFilesOf(dataDirectory);
    const directory = directoryOf(dataDirectory);
    const there = readAuthority(files, nowMs);
    if (there !== undefined) return new LocalAuthority(directory, there);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Of several gateways that start at once one makes it: another's would be trusted by nobody.
    const lock = await lockFile(join(directory, 'lock'));
    try {
      return new LocalAuthority(
        directory,
        readAuthority(files, nowMs) ?? (await makeAuthority(directory, files)),
      );
    } finally {
      lock.release();
    }
  }

  /**
   * A certificate for this machine and for everything of one tenant. A wildcard stands for one label, so each tenant's
   * workloads (`NAME.TENANT.localhost`) need a certificate of their own.
   */
  async certificateFor(tenant: string | undefined, nowMs: number): Promise<Certificate> {
    const names = tenant === undefined ? [] : [`DNS:*.${tenant}.localhost`];
    const key = newKey();
    const config = certificateConfig([...namesOfThisMachine, ...names]);
    const certificate = await sign(this.#directory, { config, key, days: certificateDays, by: this.#self });
    return {
      cert: certificate,
      key,
      context: contextOf(certificate, key, 'for localhost'),
      expiresMs: nowMs + certificateDays * dayMs,
    };
  }
}

interface Signer {
  readonly certificate: string;
  readonly key: string;
}

async function makeAuthority(directory: string, files: AuthorityFiles): Promise<Signer> {
  const key = newKey();
  const certificate = await sign(directory, { config: authorityConfig, key, days: authorityDays });
  // The key first: a certificate without its key would be taken for whole by nobody, and trusted in vain.
  await writeFileAtomic(files.key, key, { mode: 0o600, durable: true });
  await writeFileAtomic(files.certificate, certificate, { mode: 0o600, durable: true });
  return { certificate, key };
}

/** @throws BellowsError Unavailable when another holds it for longer than making an authority may take */
async function lockFile(path: string): Promise<FileLock> {
  const deadline = AbortSignal.timeout(lockMs);
  for (;;) {
    const lock = tryLockFile(path);
    if (lock !== undefined) return lock;
    if (deadline.aborted)
      throw new BellowsError(
        'Unavailable',
        `Another process makes the authority for localhost, and takes longer than ${lockMs / 1_000} s.`,
        `Try again. The lock is ${path}; who holds it is told by \`fuser\`.`,
      );
    await sleep(lockPauseMs);
  }
}

/** Undefined when there is none that can go on being used. */
function readAuthority({ certificate, key }: AuthorityFiles, nowMs: number): Signer | undefined {
  try {
    const pair = { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
    const { validToDate } = new X509Certificate(pair.certificate);
    contextOf(pair.certificate, pair.key, certificate);
    return validToDate.getTime() - nowMs > authorityRenewDays * dayMs ? pair : undefined;
  } catch {
    return undefined;
  }
}

function newKey(): string {
  return generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  }).privateKey;
}

const authorityConfig = `[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = Bellows authority for localhost
[extensions]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical,@permitted
[permitted]
permitted;DNS.1 = localhost
permitted;IP.1 = 127.0.0.0/255.0.0.0
permitted;IP.2 = ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
`;

const certificateConfig = (names: readonly string[]): string => `[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = Bellows on localhost
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${names.join(',')}
`;

const run = promisify(execFile);

interface Signing {
  readonly config: string;
  /** PEM; its public half is signed. */
  readonly key: string;
  readonly days: number;
  /** Itself, where nobody else is named. */
  readonly by?: Signer;
}

/**
 * openssl opens its inputs by name, and what Node would give it as a pipe is a socket, which has none. So they lie in a
 * directory of their own for that moment, beside the authority: its key never leaves the data directory.
 * @returns the certificate, PEM
 */
async function sign(below: string, { config, key, days, by: signer }: Signing): Promise<string> {
  const directory = mkdtempSync(join(below, '.signing-'));
  const put = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  try {
    const by =
      signer === undefined
        ? []
        : ['-CA', put('ca.pem', signer.certificate), '-CAkey', put('ca.key', signer.key)];
    const args = ['req', '-new', '-x509', '-sha256', '-days', String(days), '-batch'];
    const files = ['-config', put('config', config), '-key', put('key', key), ...by];
    const { stdout } = await run('openssl', [...args, ...files], { timeout: opensslMs });
    return stdout;
  } catch (thrown) {
    throw new BellowsError(
      'Unavailable',
      isMissing(thrown)
        ? 'The openssl program, which makes certificates for localhost, is not installed.'
        : `openssl made no certificate: ${messageOf(thrown)}`,
      'Install openssl 3 (Debian and Ubuntu: apt-get install openssl), or give a certificate: --tls-cert FILE --tls-key FILE',
      { cause: thrown },
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
