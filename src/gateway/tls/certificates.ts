// Which certificate a client is shown: the one that was given, read again when its files change, or one of the local
// authority's, by the name that the client asks for. Owns those contexts and their renewal; nothing that uses an older one
// is disturbed. Does not own sockets (secure-listener.ts).
import { stat } from 'node:fs/promises';
import { BellowsError, toErrorRecord } from '../../base/errors.ts';
import type { Logger } from '../../sys/log.ts';
import { readCertificate, type Certificate, type CertificateFiles } from './certificate.ts';
import { LocalAuthority } from './local-authority.ts';

export interface Certificates {
  /** @param servername as the client said it; undefined when it named none. @throws BellowsError when there is none */
  certificateFor(servername: string | undefined): Promise<Certificate>;
  /** To be called every few seconds. */
  refresh(): Promise<void>;
}

/** Told ahead so long, at every start and every new certificate: renewal by ACME happens thirty days ahead. */
const warnAheadMs = 14 * 86_400_000;

/** The person's own. While new files are not good, the certificate before goes on being shown. */
export class FileCertificates implements Certificates {
  readonly #files: CertificateFiles;
  readonly #log: Logger;
  readonly #nowMs: () => number;
  /** Of the files as they were read last, good or not. */
  #signature = '';
  #current: Certificate | undefined;
  #refused: BellowsError | undefined;
  #reading: Promise<void> | undefined;

  constructor(files: CertificateFiles, log: Logger, nowMs: () => number) {
    this.#files = files;
    this.#log = log;
    this.#nowMs = nowMs;
  }

  async certificateFor(): Promise<Certificate> {
    if (this.#current === undefined) await this.refresh();
    if (this.#current === undefined)
      throw this.#refused ?? new BellowsError('InvalidCertificate', 'There is no certificate.');
    return this.#current;
  }

  refresh(): Promise<void> {
    return (this.#reading ??= this.#read().finally(() => (this.#reading = undefined)));
  }

  async #read(): Promise<void> {
    const { certFile, keyFile } = this.#files;
    const signature = `${await signatureOf(certFile)} ${await signatureOf(keyFile)}`;
    if (signature === this.#signature) return;
    this.#signature = signature;
    try {
      this.#current = await readCertificate(this.#files, this.#nowMs());
      this.#refused = undefined;
      this.#tell(this.#current);
    } catch (thrown) {
      if (!(thrown instanceof BellowsError)) throw thrown;
      this.#refused = thrown;
      const kept = this.#current === undefined ? 'TLS is not served' : 'the one before goes on being used';
      this.#log.error({ ...toErrorRecord(thrown), err: thrown }, `certificate refused, ${kept}`);
    }
  }

  #tell({ expiresMs }: Certificate): void {
    const until = new Date(expiresMs).toISOString();
    if (expiresMs - this.#nowMs() < warnAheadMs)
      this.#log.warn({ until, certFile: this.#files.certFile }, `the certificate expires on ${until}`);
    else this.#log.info({ until, certFile: this.#files.certFile }, 'certificate read');
  }
}

/** What changes when a file is written or replaced; links are followed, as cert-manager and certbot use them. */
async function signatureOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path);
    return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch (thrown) {
    return String(thrown);
  }
}

/** Renewed while a third of its time is left. */
const renewAheadMs = 30 * 86_400_000;
/** Tenants whose certificates are kept: a context takes some 30 KiB, and making one anew 20 ms. */
const maxKept = 256;
/** `NAME.TENANT.localhost`, whose NAME is anybody's guess. */
const workloadHost = /^[^.]+\.([a-z0-9-]+)\.localhost$/;

/** The local authority's: one for each tenant that is asked for, in memory alone. */
export class LocalCertificates implements Certificates {
  readonly #dataDirectory: string;
  readonly #knowsTenant: (tenant: string) => boolean;
  readonly #nowMs: () => number;
  #authority: Promise<LocalAuthority> | undefined;
  /** By tenant, the one that was asked for last at the end; the empty name is this machine alone. */
  readonly #kept = new Map<string, Promise<Certificate>>();

  /** @param knowsTenant nobody can make us sign for names that are not there */
  constructor(dataDirectory: string, knowsTenant: (tenant: string) => boolean, nowMs: () => number) {
    this.#dataDirectory = dataDirectory;
    this.#knowsTenant = knowsTenant;
    this.#nowMs = nowMs;
  }

  async certificateFor(servername: string | undefined): Promise<Certificate> {
    const named = workloadHost.exec(servername?.toLowerCase() ?? '')?.[1] ?? '';
    const tenant = named !== '' && this.#knowsTenant(named) ? named : '';
    const kept = this.#kept.get(tenant);
    if (kept !== undefined) {
      this.#kept.delete(tenant);
      this.#kept.set(tenant, kept);
      return kept;
    }
    const made = this.#make(tenant);
    this.#keep(tenant, made);
    return made;
  }

  /** Those that are about to expire are made anew when they are asked for next. */
  async refresh(): Promise<void> {
    for (const [tenant, kept] of this.#kept) {
      // One that could not be made is gone already.
      const expiresMs = await kept.then(
        (certificate) => certificate.expiresMs,
        () => Infinity,
      );
      if (expiresMs - this.#nowMs() < renewAheadMs && this.#kept.get(tenant) === kept)
        this.#kept.delete(tenant);
    }
  }

  async #make(tenant: string): Promise<Certificate> {
    this.#authority ??= LocalAuthority.open(this.#dataDirectory, this.#nowMs());
    try {
      const authority = await this.#authority;
      return await authority.certificateFor(tenant === '' ? undefined : tenant, this.#nowMs());
    } catch (thrown) {
      // The next who asks tries again: a full disk, or a program that was not installed yet.
      this.#authority = undefined;
      this.#kept.delete(tenant);
      throw thrown;
    }
  }

  #keep(tenant: string, made: Promise<Certificate>): void {
    this.#kept.set(tenant, made);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > maxKept && oldest !== undefined) this.#kept.delete(oldest);
  }
}
