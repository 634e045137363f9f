// Everything that listens: the port in the clear and, where asked for, the one for TLS. Both lead to the same HTTP/1.1 (listen.ts,
// lane/) and to HTTP/2. Owns that they start and stop together. Does not own what requests mean (dispatch.ts).
import type { Logger } from '../sys/log.ts';
import type { GatewayConfig } from './config.ts';
import type { TrustedProxies } from './hop.ts';
import { Http2Sessions } from './http2/sessions.ts';
import { Listener, type ListenHandlers } from './listen.ts';
import type { ListenAt } from './open-listening.ts';
import { FileCertificates, LocalCertificates, type Certificates } from './tls/certificates.ts';
import { SecureListener } from './tls/secure-listener.ts';

export interface FrontPorts {
  readonly port: number;
  /** Undefined where TLS is not served. */
  readonly tlsPort: number | undefined;
}

type Place = Pick<GatewayConfig, 'port' | 'listenDescriptor'>;

export class Front {
  readonly #config: GatewayConfig;
  readonly #listener: Listener;
  readonly #secure: SecureListener | undefined;
  readonly #http2: Http2Sessions | undefined;

  /** @param knowsTenant whether there is such a tenant, for whose hosts a certificate may be made */
  constructor(
    config: GatewayConfig,
    handlers: ListenHandlers,
    proxies: TrustedProxies,
    knowsTenant: (tenant: string) => boolean,
    log: Logger,
  ) {
    this.#config = config;
    const listener = new Listener(handlers, proxies);
    this.#listener = listener;
    if (config.tls === undefined) return;
    const http2 = new Http2Sessions(handlers.onRequest);
    this.#http2 = http2;
    this.#secure = new SecureListener(
      certificatesOf(config, knowsTenant, log),
      { onHttp1: (socket) => listener.take(socket), onHttp2: (socket) => http2.take(socket) },
      log,
    );
  }

  async start(): Promise<FrontPorts> {
    const { host, tls } = this.#config;
    const at = ({ port, listenDescriptor: fd }: Place): ListenAt =>
      fd === undefined ? { port, host } : { fd };
    const port = await this.#listener.listen(at(this.#config));
    if (this.#secure === undefined || tls === undefined) return { port, tlsPort: undefined };
    return { port, tlsPort: await this.#secure.listen(at(tls)) };
  }

  /** @throws BellowsError when there is no certificate to serve TLS with */
  async check(): Promise<void> {
    await this.#secure?.check();
  }

  /** How many connections may bring another request. */
  get asking(): number {
    return this.#listener.asking + (this.#secure?.handshaking ?? 0) + (this.#http2?.size ?? 0);
  }

  /** Takes no new connection, lets each that is there ask once more, and resolves when all have ended, upgraded ones too. */
  async leave(): Promise<void> {
    const closed = Promise.all([this.#listener.leave(), this.#secure?.stopAccepting()]);
    this.#http2?.leave();
    await closed;
  }

  /** Takes no new connection, ends the idle ones, and resolves when the others have ended. */
  async stopAccepting(): Promise<void> {
    const closed = Promise.all([this.#listener.stopAccepting(), this.#secure?.stopAccepting()]);
    this.#http2?.stop();
    await closed;
  }

  closeAll(): void {
    this.#listener.closeAll();
    this.#http2?.closeAll();
    this.#secure?.closeAll();
  }
}

function certificatesOf(
  { dataDirectory, tls }: GatewayConfig,
  knowsTenant: (tenant: string) => boolean,
  log: Logger,
): Certificates {
  const nowMs = (): number => Date.now();
  return tls?.files === undefined
    ? new LocalCertificates(dataDirectory, knowsTenant, nowMs)
    : new FileCertificates(tls.files, log, nowMs);
}
