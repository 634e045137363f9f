// A QEMU monitor as a script, behind a real socket: what is answered to each command, or that nothing is.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Answer = (args: Record<string, unknown>) => unknown;

export const refusal = (desc: string): { error: { class: string; desc: string } } => ({
  error: { class: 'GenericError', desc },
});

export class ScriptedQmp {
  readonly directory = mkdtempSync(join(tmpdir(), 'bellows-qmp-'));
  readonly path = join(this.directory, 'q');
  readonly received: { readonly command: string; readonly args: Record<string, unknown> }[] = [];
  /** By command; what is not here is never answered. */
  readonly answers = new Map<string, Answer>([['qmp_capabilities', () => ({})]]);
  greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
      if (this.greeting !== '') this.send(this.greeting);
      let text = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        const lines = text.split('\n');
        text = lines.pop() ?? '';
        for (const line of lines) this.#take(line);
      });
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve));
  }

  send(text: string): void {
    for (const socket of this.#sockets) socket.write(`${text}\r\n`);
  }

  event(event: string, data: Record<string, unknown> = {}): void {
    this.send(JSON.stringify({ timestamp: { seconds: 1, microseconds: 2 }, event, data }));
  }

  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.hangUp();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.directory, { recursive: true, force: true });
  }

  #take(line: string): void {
    const message = JSON.parse(line) as { execute: string; arguments: Record<string, unknown>; id: number };
    this.received.push({ command: message.execute, args: message.arguments });
    const answer = this.answers.get(message.execute)?.(message.arguments);
    if (answer === undefined) return;
    const isRefusal = typeof answer === 'object' && answer !== null && 'error' in answer;
    this.send(JSON.stringify({ id: message.id, ...(isRefusal ? answer : { return: answer }) }));
  }
}
