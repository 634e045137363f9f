// Code that comes as a tar: complete or not there, and nobody's but root's to write.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { suiteNeeding } from '../../../tests/support/needs.ts';
import { CodeStore, type CodeStoreOptions } from './code-store.ts';

const sha256 = 'ab'.repeat(32);
const missing = spawnSync('busybox', ['true']).status === 0 ? undefined : 'no busybox here';

suiteNeeding('code through the door', missing, () => {
  let directory: string;
  let tar: Buffer;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'bellows-code-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const source = join(directory, 'source');
    mkdirSync(join(source, 'lib'), { recursive: true });
    writeFileSync(join(source, 'index.js'), 'module.exports = 1;');
    writeFileSync(join(source, 'lib', 'tool'), '#!/bin/sh\n');
    chmodSync(join(source, 'lib', 'tool'), 0o6777);
    chmodSync(join(source, 'index.js'), 0o600);
    tar = spawnSync('tar', ['-c', '-C', source, '.']).stdout;
  });

  /** Bytes as they come out of a connection. */
  async function received(bytes: Buffer): Promise<Socket> {
    const server = createServer((socket) => socket.end(bytes)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    onTestFinished(() => {
      socket.destroy();
      server.close();
    });
    return socket;
  }
  const make = (options?: CodeStoreOptions): CodeStore => {
    const store = new CodeStore(join(directory, 'data'), options);
    store.open();
    return store;
  };
  const place = (): string => join(directory, 'data', 'code', 'acme', sha256);
  const leftovers = (): string[] => readdirSync(join(directory, 'data', 'code', '.unfinished'));

  test('it is there afterwards, for all to read, for none but its owner to write, with no rights of its own', async () => {
    await make().receive('acme', sha256)(await received(tar));
    expect(readFileSync(join(place(), 'index.js'), 'utf8')).toBe('module.exports = 1;');
    expect(statSync(join(place(), 'index.js')).mode & 0o7777).toBe(0o644);
    expect(statSync(join(place(), 'lib', 'tool')).mode & 0o7777).toBe(0o755);
    expect(leftovers()).toEqual([]);
  });

  test('a tar that is cut short is an error, and nothing of it stays', async () => {
    const half = tar.subarray(0, 1000);
    await expect(make().receive('acme', sha256)(await received(half))).rejects.toMatchObject({
      code: 'InvalidArchive',
    });
    expect(existsSync(place())).toBe(false);
    expect(leftovers()).toEqual([]);
  });

  test('what is too large is refused while it comes', async () => {
    const large = Buffer.concat([tar, Buffer.alloc(100_000)]);
    await expect(
      make({ maxBytes: 50_000 }).receive('acme', sha256)(await received(large)),
    ).rejects.toMatchObject({
      code: 'PayloadTooLarge',
    });
    expect(existsSync(place())).toBe(false);
    expect(leftovers()).toEqual([]);
  });

  test('what there is no room for is refused when it has come, and nothing of it stays; it may come again', async () => {
    let room = false;
    const store = make({
      admit: async () => {
        if (!room) throw new BellowsError('NoRoom', 'the disk is promised to others');
      },
    });
    await expect(store.receive('acme', sha256)(await received(tar))).rejects.toMatchObject({
      code: 'NoRoom',
    });
    expect(existsSync(place())).toBe(false);
    expect(leftovers()).toEqual([]);
    room = true;
    await store.receive('acme', sha256)(await received(tar));
    expect(existsSync(place())).toBe(true);
  });

  test('the same again is read and dropped; two at once are unpacked once', async () => {
    const store = make();
    await Promise.all([
      store.receive('acme', sha256)(await received(tar)),
      store.receive('acme', sha256)(await received(tar)),
    ]);
    const before = statSync(place()).ino;
    await store.receive('acme', sha256)(await received(Buffer.from('no tar at all')));
    expect(statSync(place()).ino).toBe(before);
  });

  test('a name never leads out of the archive', async () => {
    const outside = join(directory, 'source', 'index.js');
    const hostile = spawnSync('tar', ['-c', '-P', '--transform=s,.*,../../../../escaped,', outside]).stdout;
    await make()
      .receive(
        'acme',
        sha256,
      )(await received(hostile))
      .catch(() => undefined);
    expect(existsSync(join(directory, 'escaped'))).toBe(false);
    expect(existsSync(join(directory, 'data', 'escaped'))).toBe(false);
    expect(existsSync(join(directory, 'data', 'code', 'escaped'))).toBe(false);
  });

  test('a place outside is found inside by tenant and hash', async () => {
    const store = make();
    expect(() => store.inside(`/srv/data/code/acme/${sha256}`)).toThrow(
      expect.objectContaining({ code: 'NotFound' }),
    );
    await store.receive('acme', sha256)(await received(tar));
    expect(store.inside(`/srv/data/code/acme/${sha256}`)).toBe(place());
    for (const path of ['/srv/data/code/acme/x', `/srv/../${sha256}`])
      expect(() => store.inside(path)).toThrow();
  });
});
