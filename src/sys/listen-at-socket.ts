// A server at a Unix socket that processes of this machine connect to: its directory is nobody else's, and what one before left there
// under that name goes. Owns nothing; who may still serve there is the caller's to know.
import { mkdirSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { dirname } from 'node:path';

/** Resolves when it listens. @throws Error when it can not */
export async function listenAtSocket(server: Server, path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
}
