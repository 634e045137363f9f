// The listening server for TLS: the handshake, and by its outcome HTTP/2 or the same HTTP/1.1 as on the port in the clear.
// Owns the server and the handshake's bounds. Does not own certificates (certificates.ts), nor what follows the handshake.
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';
import { toErrorRecord } from '../../base/errors.ts';
import type { Logger } from '../../sys/log.ts';
import { serverLimits } from '../config.ts';
import { openListening, type ListenAt } from '../open-listening.ts';
import { oldestTls, type Certificate } from './certificate.ts';
import type { Certificates } from './certificates.ts';
import { tellPlainHttp } from './plain-http.ts';

export interface SecureHandlers {
  readonly onHttp1: (socket: Socket) => void;
  readonly onHttp2: (socket: Socket) => void;
}

/** Files that were replaced are in use this soon; looking at two of them costs nothing. */
const refreshMs = 2_000;
export class SecureListener {
  readonly #server: Server;
  readonly #certificates: Certificates;
  readonly #log: Logger;
  readonly #sockets = new Set<TLSSocket>();
  /** Connections, whether their handshake is over or not. */
  #open = 0;
  readonly #timer: NodeJS.Timeout;
  #default: Certificate | undefined;
  #lastProblem = '';

  constructor(certificates: Certificates, { onHttp1, onHttp2 }: SecureHandlers, log: Logger) {
    this.#certificates = certificates;
    this.#log = log;
    const server = createServer({
      minVersion: oldestTls,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: serverLimits.headersTimeoutMs,
      // As node:http's own servers: a client that has ended its side is still answered over a tunnel.
      allowHalfOpen: true,
      noDelay: true,
      SNICallback: (servername, done) => {
        void this.#show(servername, done);
      },
    });
    const serveTls = server.listeners('connection') as ((socket: Socket) => void)[];
    server.removeAllListeners('connection');
    server.on('connection', (socket) => {
      this.#open += 1;
      socket.once('close', () => (this.#open -= 1));
      tellPlainHttp(socket, () => {
        for (const serve of serveTls) serve.call(server, socket);
      });
    });
    server.on('secureConnection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      if (socket.alpnProtocol === 'h2') onHttp2(socket);
      else onHttp1(socket);
    });
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    this.#server = server;
    this.#timer = setInterval(() => void this.refresh(), refreshMs).unref();
  }

  /** Resolves with the port. Without a certificate it listens all the same: handshakes fail until there is one. */
  async listen(at: ListenAt): Promise<number> {
    await this.refresh();
    return openListening(this.#server, at);
  }

  /** How many connections are not served yet. */
  get handshaking(): number {
    return Math.max(0, this.#open - this.#sockets.size);
  }

  /** @throws BellowsError when there is no certificate */
  async check(): Promise<void> {
    await this.#certificateOf(undefined);
  }

  /** Takes no new connection; resolves when those that are open have ended. */
  stopAccepting(): Promise<void> {
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Looks whether there are newer certificates. What is connected stays as it is. */
  async refresh(): Promise<void> {
    await this.#certificates.refresh();
    // For clients that name no server, as whoever connects to an address.
    const certificate = await this.#certificateOf(undefined).catch(() => undefined);
    if (certificate === undefined || certificate === this.#default) return;
    this.#default = certificate;
    this.#server.setSecureContext({
      cert: certificate.cert,
      key: certificate.key,
      minVersion: oldestTls,
    });
  }

  async #show(
    servername: string,
    done: (error: Error | null, context?: SecureContext) => void,
  ): Promise<void> {
    try {
      const { context } = await this.#certificateOf(servername);
      done(null, context);
    } catch (thrown) {
      done(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
  }

  async #certificateOf(servername: string | undefined): Promise<Certificate> {
    try {
      return await this.#certificates.certificateFor(servername);
    } catch (thrown) {
      const { code, message, hint } = toErrorRecord(thrown);
      // Once for each reason: clients ask again and again.
      if (message !== this.#lastProblem) this.#log.error({ code, hint, err: thrown }, 'no certificate');
      this.#lastProblem = message;
      throw thrown;
    }
  }

  closeAll(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
  }
}
