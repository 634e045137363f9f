// A typed client of QEMU's monitor: greeting, answers paired by id, events, and a deadline for every command.
// Owns one connection. What commands mean for a machine is machine/; QEMU serves one connection at a time.
import { connect, type Socket } from 'node:net';
import { BellowsError, messageOf } from '../../../base/errors.ts';
import { qmpCommands, type QmpArguments, type QmpCommand, type QmpResult } from './commands.ts';
import { greeting, heededEvent, qmpMessage, type QmpEvent } from './messages.ts';

/** The longest answer is the console's ring, some 64 KiB, escaped; what is longer is not a line of QEMU's. */
const maxLineBytes = 1024 * 1024;

interface PendingCommand {
  readonly name: QmpCommand;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export interface QmpOptions {
  /** Who is meant, in errors: `QEMU of unit u-…`. */
  readonly name: string;
  readonly onEvent?: (event: QmpEvent) => void;
  /** Told once, when the connection has ended for whatever reason, also a deadline that passed. */
  readonly onClose?: () => void;
  /** How long the greeting may take; default 10 s. */
  readonly greetingMs?: number;
}

export class QmpClient {
  readonly #socket: Socket;
  readonly #options: QmpOptions;
  readonly #pending = new Map<number, PendingCommand>();
  readonly #greeted = Promise.withResolvers<void>();
  #text = '';
  #lastId = 0;
  #greeting = false;
  #closed = false;

  private constructor(path: string, options: QmpOptions) {
    this.#options = options;
    this.#greeted.promise.catch(() => undefined);
    this.#socket = connect(path);
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (chunk: string) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#end(`its monitor can not be reached: ${error.message}`));
    this.#socket.on('close', () => this.#end('its monitor closed'));
  }

  /** Ready for commands. @throws BellowsError Unavailable when nothing answers there in time. */
  static async connect(path: string, options: QmpOptions): Promise<QmpClient> {
    const client = new QmpClient(path, options);
    const greetingMs = options.greetingMs ?? 10_000;
    const timer = setTimeout(
      () => client.#end(`its monitor did not greet within ${greetingMs} ms`),
      greetingMs,
    );
    try {
      await client.#greeted.promise;
      await client.execute('qmp_capabilities', {});
      return client;
    } catch (thrown) {
      client.close();
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * @throws BellowsError Unavailable when QEMU does not answer in time (the connection is then given up, for nothing more
   * is known of the machine's state), Conflict when QEMU refuses.
   */
  execute<C extends QmpCommand>(
    name: C,
    args: QmpArguments<C>,
    timeoutMs: number = qmpCommands[name].timeoutMs,
  ): Promise<QmpResult<C>> {
    if (this.#closed) return Promise.reject(this.#error(`${name} was not sent, its monitor is closed`));
    const id = (this.#lastId += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#end(`it has not answered ${name} within ${timeoutMs} ms`),
        timeoutMs,
      );
      this.#pending.set(id, { name, resolve: resolve as (value: unknown) => void, reject, timer });
      this.#socket.write(`${JSON.stringify({ execute: name, arguments: args, id })}\n`);
    });
  }

  close(): void {
    this.#end('its monitor was closed on this side');
  }

  #error(why: string): BellowsError {
    return new BellowsError('Unavailable', `${this.#options.name} does not answer: ${why}.`);
  }

  #end(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    const error = this.#error(why);
    this.#greeted.reject(error);
    for (const command of this.#pending.values()) {
      clearTimeout(command.timer);
      command.reject(error);
    }
    this.#pending.clear();
    this.#options.onClose?.();
  }

  #receive(chunk: string): void {
    this.#text += chunk;
    try {
      for (;;) {
        const end = this.#text.indexOf('\n');
        if (end < 0 || this.#closed) break;
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        if (line.trim() !== '') this.#take(JSON.parse(line));
      }
      if (this.#text.length > maxLineBytes) throw new RangeError('a line without end');
    } catch (thrown) {
      this.#end(`its monitor said what it should not: ${messageOf(thrown)}`);
    }
  }

  #take(json: unknown): void {
    if (!this.#greeting) {
      greeting.parse(json);
      this.#greeting = true;
      this.#greeted.resolve();
      return;
    }
    const message = qmpMessage.parse(json);
    if ('event' in message) {
      const event = heededEvent(message);
      if (event !== undefined) this.#options.onEvent?.(event);
      return;
    }
    const command = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (message.id === undefined || command === undefined) return;
    this.#pending.delete(message.id);
    clearTimeout(command.timer);
    if ('error' in message) {
      const what = `${this.#options.name} refuses ${command.name}: ${message.error.desc}`;
      command.reject(new BellowsError('Conflict', what.endsWith('.') ? what : `${what}.`));
      return;
    }
    const result = qmpCommands[command.name].result.safeParse(message.return);
    if (result.success) command.resolve(result.data);
    else command.reject(new Error(`the answer to ${command.name} does not fit: ${result.error.message}`));
  }
}
