// Where `bellows up` serves TLS, and by which certificate: from its options to what the supervisor is told.
// Does not own making the certificate for localhost: src/gateway/tls does.
import { resolve } from 'node:path';
import type { SupervisorOptions } from '../../supervisor/supervisor.ts';
import { ensureOpenssl } from '../../supervisor/system-packages.ts';
import { exitCode } from '../exit-code.ts';
import { CommandError } from '../failure.ts';

interface TlsArgs {
  readonly tlsPort?: number | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

/** @throws CommandError when options do not fit, or none can be made */
export async function tlsOf(
  { tlsPort, tlsCert, tlsKey }: TlsArgs,
  say: (text: string) => void,
): Promise<SupervisorOptions['tls']> {
  if ((tlsCert === undefined) !== (tlsKey === undefined) || (tlsCert !== undefined && tlsPort === undefined))
    throw new CommandError(
      exitCode.usage,
      '--tls-cert and --tls-key go together, and with --tls-port.',
      'For example: bellows up --tls-port 8443 --tls-cert server.pem --tls-key server.key',
    );
  if (tlsPort === undefined) return undefined;
  if (tlsCert !== undefined && tlsKey !== undefined)
    return { port: tlsPort, files: { certFile: resolve(tlsCert), keyFile: resolve(tlsKey) } };
  const openssl = await ensureOpenssl(say);
  if (openssl.outcome === 'missing')
    throw new CommandError(
      exitCode.failed,
      `There can be no certificate for localhost: ${openssl.why}`,
      `${openssl.solve} Or give a certificate: --tls-cert FILE --tls-key FILE`,
    );
  return { port: tlsPort };
}
