// The store in one SQLite file and a directory of blobs. Owns the connection, transactions and revisions.
//
// - A write is one transaction on this thread, so writes are in the order of calls and a reader in this process sees them
//   at once. It is on the disk when its promise resolves: SQLite is told not to wait (synchronous=NORMAL leaves the
//   log unsynced), and the log is synced on another thread, once for all who wait. That is what synchronous=FULL does,
//   but nothing else in the process stands still for a slow disk.
// - What is in the log is moved into the database when there is a pause, for that does hold the thread up.
// - A watch sees the writes of this process only, in order, and is ended with an error when it falls 10,000 changes
//   behind (../watchers.ts). There is one controller, so there are no others.
import { closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { BlobDirectory } from '../blobs.ts';
import { checkKey } from '../key.ts';
import type { Entry, Store, StoreEvent } from '../port.ts';
import { Watchers } from '../watchers.ts';
import { Checkpoint } from './checkpoint.ts';
import { GroupSync } from './group-sync.ts';
import { checkpointPages, LogFile } from './log-file.ts';
import { migrate } from './migrations.ts';

/** A controller that is just ending may hold the write lock for the length of a checkpoint. */
const busyTimeoutMs = 5_000;

export interface SqliteStoreOptions {
  readonly databasePath: string;
  readonly blobDirectory: string;
}

/**
 * Opens or makes a store. Both places are made readable by their owner only: tenants' secrets are in there.
 * @throws BellowsError NotSupportedHere when a newer Bellows wrote it, Unavailable when it is no database or can not be opened.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const blobs = await BlobDirectory.open(options.blobDirectory);
  const database = openDatabase(options.databasePath);
  try {
    // Nobody else writes to the log while it is filled up.
    database.exec('BEGIN IMMEDIATE');
    const log = await LogFile.open(`${options.databasePath}-wal`);
    database.exec('ROLLBACK');
    return new SqliteStore(database, blobs, log);
  } catch (thrown) {
    database.close();
    throw notOpened(options.databasePath, thrown);
  }
}

function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    // SQLite's other files take over the mode of this one.
    closeSync(openSync(path, 'a', 0o600));
    database = new DatabaseSync(path, { timeout: busyTimeoutMs });
    database.exec('PRAGMA journal_mode = WAL');
    database.exec('PRAGMA synchronous = NORMAL');
    database.exec(`PRAGMA wal_autocheckpoint = ${checkpointPages}`);
    migrate(database, path);
    return database;
  } catch (thrown) {
    database?.close();
    throw thrown instanceof BellowsError ? thrown : notOpened(path, thrown);
  }
}

function notOpened(path: string, thrown: unknown): BellowsError {
  return new BellowsError(
    'Unavailable',
    `The database ${path} can not be opened: ${messageOf(thrown)}.`,
    'Check that the file is readable and the disk has room, or give Bellows another data directory with --data.',
    { cause: thrown },
  );
}

class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #blobs: BlobDirectory;
  readonly #watchers = new Watchers();
  readonly #log: LogFile;
  readonly #sync: GroupSync;
  readonly #checkpoint: Checkpoint;
  readonly #select: StatementSync;
  readonly #selectFrom: StatementSync;
  readonly #upsert: StatementSync;
  readonly #remove: StatementSync;
  readonly #nextRevision: StatementSync;

  constructor(database: DatabaseSync, blobs: BlobDirectory, log: LogFile) {
    this.#database = database;
    this.#blobs = blobs;
    this.#log = log;
    this.#sync = new GroupSync(() => log.sync());
    this.#checkpoint = new Checkpoint(() => database.exec('PRAGMA wal_checkpoint(PASSIVE)'));
    this.#select = database.prepare('SELECT key, value, revision FROM entries WHERE key = ?');
    this.#selectFrom = database.prepare(
      'SELECT key, value, revision FROM entries WHERE key >= ? AND key > ? ORDER BY key',
    );
    this.#upsert = database.prepare(
      'INSERT INTO entries (key, value, revision) VALUES (?, ?, ?)' +
        ' ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision',
    );
    this.#remove = database.prepare('DELETE FROM entries WHERE key = ?');
    this.#nextRevision = database.prepare(
      "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value",
    );
  }

  async get<T>(key: string): Promise<Entry<T> | undefined> {
    this.#checkOpen();
    const row = this.#select.get(key);
    return row === undefined ? undefined : entryOf<T>(row);
  }

  async list<T>(
    prefix: string,
    options: { readonly after?: string; readonly limit?: number } = {},
  ): Promise<Entry<T>[]> {
    this.#checkOpen();
    const limit = options.limit ?? Number.POSITIVE_INFINITY;
    const entries: Entry<T>[] = [];
    // Keys with the prefix stand together, so the first without it is behind the last with it.
    for (const row of this.#selectFrom.iterate(prefix, options.after ?? '')) {
      if (entries.length >= limit || !String(row['key']).startsWith(prefix)) break;
      entries.push(entryOf<T>(row));
    }
    return entries;
  }

  async put(key: string, value: unknown, options: { readonly expect?: number } = {}): Promise<number> {
    this.#checkOpen();
    checkKey(key);
    const json = JSON.stringify(value) as string | undefined;
    if (json === undefined) throw new TypeError(`the value of ${key} can not be written as JSON`);
    const revision = this.#write(key, options.expect, () => {
      const next = this.#takeRevision();
      this.#upsert.run(key, json, next);
      return next;
    });
    await this.#sync.durable();
    // Parsed again for the watchers: what they get is what a reader gets, and is nobody else's object.
    this.#watchers.publish({ type: 'put', entry: { key, value: JSON.parse(json), revision } });
    return revision;
  }

  async delete(key: string, options: { readonly expect?: number } = {}): Promise<boolean> {
    this.#checkOpen();
    const revision = this.#write(key, options.expect, () =>
      this.#remove.run(key).changes === 0 ? undefined : this.#takeRevision(),
    );
    if (revision === undefined) return false;
    await this.#sync.durable();
    this.#watchers.publish({ type: 'delete', key, revision });
    return true;
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<StoreEvent> {
    this.#checkOpen();
    return this.#watchers.add(prefix, signal);
  }

  async putBlob(bytes: Uint8Array): Promise<string> {
    this.#checkOpen();
    return this.#blobs.put(bytes);
  }

  async getBlob(sha256: string): Promise<Buffer | undefined> {
    this.#checkOpen();
    return this.#blobs.get(sha256);
  }

  async deleteBlob(sha256: string): Promise<void> {
    this.#checkOpen();
    return this.#blobs.delete(sha256);
  }

  async listBlobs(): Promise<string[]> {
    this.#checkOpen();
    return this.#blobs.list();
  }

  async close(): Promise<void> {
    if (!this.#database.isOpen) return;
    this.#checkpoint.stop();
    // Closing syncs everything once more; the descriptor goes when nobody's sync uses it any more.
    this.#database.close();
    await this.#sync.idle();
    this.#watchers.close();
    this.#log.close();
  }

  #checkOpen(): void {
    if (!this.#database.isOpen) throw new BellowsError('Unavailable', 'The store is closed.');
    if (this.#sync.failure !== undefined) throw this.#sync.failure;
  }

  #takeRevision(): number {
    return Number(this.#nextRevision.get()?.['value']);
  }

  /** Compares the revision and writes in one transaction, so that no other process gets in between. */
  #write<R>(key: string, expect: number | undefined, write: () => R): R {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      if (expect !== undefined) this.#compare(key, expect);
      const result = write();
      this.#database.exec('COMMIT');
      this.#checkpoint.later();
      return result;
    } catch (thrown) {
      // SQLite ends the transaction by itself on some errors, such as a full disk.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw thrown;
    }
  }

  #compare(key: string, expect: number): void {
    const found = Number(this.#select.get(key)?.['revision'] ?? 0);
    if (found === expect) return;
    const stands = (revision: number): string => (revision === 0 ? 'not there' : `at revision ${revision}`);
    throw new BellowsError(
      'Conflict',
      `${key} is ${stands(found)}, but was expected ${expect === 0 ? 'not to exist' : stands(expect)}.`,
      'Read it again and repeat the change.',
    );
  }
}

function entryOf<T>(row: Record<string, unknown>): Entry<T> {
  return {
    key: String(row['key']),
    value: JSON.parse(String(row['value'])) as T,
    revision: Number(row['revision']),
  };
}
