import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { storeContract } from '../contract.ts';
import { schemaVersion } from './migrations.ts';
import { openSqliteStore, type SqliteStoreOptions } from './sqlite-store.ts';

function makeDirectory(): { options: SqliteStoreOptions; remove: () => void } {
  const directory = mkdtempSync(join(tmpdir(), 'bellows-store-'));
  return {
    options: { databasePath: join(directory, 'bellows.db'), blobDirectory: join(directory, 'blobs') },
    remove: () => rmSync(directory, { recursive: true }),
  };
}

storeContract('SQLite', async () => {
  const { options, remove } = makeDirectory();
  return { open: () => openSqliteStore(options), remove: async () => remove() };
});

describe('SQLite store', () => {
  let options: SqliteStoreOptions;
  let remove: () => void;

  beforeEach(() => {
    ({ options, remove } = makeDirectory());
  });
  afterEach(() => remove());

  interface Acknowledged {
    readonly puts: Map<string, number>;
    readonly deletes: Set<string>;
    readonly blobs: Set<string>;
  }

  /** Lets a writer work until it has had `count` acknowledgements, then kills it wherever it is. */
  async function writeUntilKilled(round: number, count: number): Promise<Acknowledged> {
    const script = fileURLToPath(new URL('fixtures/writer.ts', import.meta.url));
    const args = [
      '--disable-warning=ExperimentalWarning',
      script,
      options.databasePath,
      options.blobDirectory,
      `${round}`,
    ];
    const writer = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(writer, 'exit');
    let output = '';
    writer.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.split('\n').length > count) writer.kill('SIGKILL');
    });
    const [, signal] = (await exited) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
    const acknowledged: Acknowledged = { puts: new Map(), deletes: new Set(), blobs: new Set() };
    for (const line of output.slice(0, output.lastIndexOf('\n')).split('\n')) {
      const [what, name = '', revision] = line.split(' ');
      if (what === 'put') acknowledged.puts.set(name, Number(revision));
      else if (what === 'delete') acknowledged.deletes.add(name);
      else acknowledged.blobs.add(name);
    }
    return acknowledged;
  }

  test('after kill -9 in the middle of writing, all that was acknowledged is there and nothing is there in half', async () => {
    let lastRevision = 0;
    for (const [round, count] of [37, 120, 203, 314].entries()) {
      const acknowledged = await writeUntilKilled(round, count);
      const store = await openSqliteStore(options);
      const entries = await store.list<{ text: string; sha256: string }>(`round/${round}/`);
      const revisions = new Map(entries.map((entry) => [entry.key, entry.revision]));
      for (const [key, revision] of acknowledged.puts) {
        const expected = acknowledged.deletes.has(key) ? undefined : revision;
        // The removal that was under way when it was killed may have been done without being acknowledged.
        if (revisions.get(key) !== expected)
          expect([key, [...acknowledged.puts.keys()].at(-2)]).toEqual([key, key]);
      }
      expect(acknowledged.puts.size).toBeGreaterThan(20);
      expect(acknowledged.deletes.size).toBeGreaterThan(5);
      for (const { value } of entries)
        expect(createHash('sha256').update(value.text).digest('hex')).toBe(value.sha256);
      const blobs = await store.listBlobs();
      expect(blobs).toEqual(expect.arrayContaining([...acknowledged.blobs]));
      // Reading one compares it with its name.
      for (const blob of blobs) expect(await store.getBlob(blob)).toBeDefined();
      expect(readdirSync(options.blobDirectory).sort()).toEqual(blobs);
      const revision = await store.put('after', round);
      expect(revision).toBeGreaterThan(Math.max(lastRevision, ...acknowledged.puts.values()));
      lastRevision = revision;
      await store.close();
    }
  }, 60_000);

  test('a database that a newer Bellows wrote is refused, says so, and is left as it is', async () => {
    await (await openSqliteStore(options)).close();
    const database = new DatabaseSync(options.databasePath);
    database.exec(`INSERT INTO migrations VALUES (${schemaVersion + 1}, 'from the future', 0)`);
    database.close();
    const before = readFileSync(options.databasePath);
    const failure = await openSqliteStore(options).catch((thrown: unknown) => thrown);
    expect(failure).toMatchObject({
      code: 'NotSupportedHere',
      hint: expect.stringContaining('newer Bellows'),
    });
    expect(String(failure)).toContain(`schema version ${schemaVersion + 1}`);
    expect(readFileSync(options.databasePath).equals(before)).toBe(true);
  });

  test('a file that is no database is refused and left as it is', async () => {
    writeFileSync(options.databasePath, 'a letter to a friend'.repeat(100));
    await expect(openSqliteStore(options)).rejects.toThrow(
      expect.objectContaining({
        code: 'Unavailable',
        message: expect.stringContaining(options.databasePath),
      }),
    );
    expect(readFileSync(options.databasePath, 'utf8')).toContain('a letter to a friend');
  });

  test('two connections never get the same revision', async () => {
    const [one, two] = [await openSqliteStore(options), await openSqliteStore(options)];
    const revisions: number[] = [];
    for (let count = 0; count < 20; count += 1) {
      revisions.push(await one.put('a', count), await two.put('a', count));
    }
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
    await one.close();
    await two.close();
  });

  test('nobody but the owner can read secrets: neither the database nor blobs', async () => {
    const store = await openSqliteStore(options);
    const blob = await store.putBlob(Buffer.from('secret'));
    await store.put('secret', 1);
    const modeOf = (path: string): number => statSync(path).mode & 0o777;
    expect(modeOf(options.blobDirectory)).toBe(0o700);
    expect(modeOf(join(options.blobDirectory, blob))).toBe(0o600);
    for (const path of [options.databasePath, `${options.databasePath}-wal`, `${options.databasePath}-shm`]) {
      expect(modeOf(path)).toBe(0o600);
    }
    await store.close();
    expect(existsSync(`${options.databasePath}-wal`)).toBe(false);
  });

  test('a blob that the disk no longer holds as it was stored is not handed out', async () => {
    const store = await openSqliteStore(options);
    const blob = await store.putBlob(Buffer.from('good'));
    writeFileSync(join(options.blobDirectory, blob), 'evil');
    await expect(store.getBlob(blob)).rejects.toThrow(expect.objectContaining({ code: 'Internal' }));
    await store.close();
  });

  test('what a crash left half-written among the blobs is removed on opening', async () => {
    await (await openSqliteStore(options)).close();
    writeFileSync(join(options.blobDirectory, `.${'a'.repeat(64)}.0123456789ab.tmp`), 'half');
    const store = await openSqliteStore(options);
    expect(readdirSync(options.blobDirectory)).toEqual([]);
    await store.close();
  });
});
