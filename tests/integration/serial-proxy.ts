// Stands between a unit's driver and QEMU's socket of the guest's serial port, so that a test can cut the link to a real
// agent, mend it, and say an event in its name.
import { existsSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { encodeFrame } from '../../src/base/frame.ts';
import { rpcFrame } from '../../src/protocol/rpc.ts';
import { socketNames } from '../../src/units/vm/machine/arguments.ts';

export class SerialProxy {
  readonly #path: string;
  readonly #behind: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #driver: Socket | undefined;

  constructor(runDirectory: string) {
    this.#path = join(runDirectory, socketNames.agent);
    this.#behind = `${this.#path}.qemu`;
    if (!existsSync(this.#behind)) renameSync(this.#path, this.#behind);
  }

  async listen(): Promise<void> {
    const server = createServer((driver) => {
      const qemu = connect(this.#behind);
      this.#driver = driver;
      for (const [from, to] of [
        [driver, qemu],
        [qemu, driver],
      ] as const) {
        this.#sockets.add(from);
        from
          .on('error', () => undefined)
          .on('close', () => {
            this.#sockets.delete(from);
            to.destroy();
          });
        from.pipe(to);
      }
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#path, resolve));
  }

  /** Between two frames of the guest's: it must be silent just then. */
  emit(event: string, data: unknown): void {
    this.#driver?.write(encodeFrame(rpcFrame.event, 0, JSON.stringify({ event, data })));
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
    rmSync(this.#path, { force: true });
  }
}
