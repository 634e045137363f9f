// The database's schema as a numbered list of steps, and bringing a database up to date. Owns tables, not what is in them.
import type { DatabaseSync } from 'node:sqlite';
import { BellowsError } from '../../base/errors.ts';

interface Migration {
  readonly name: string;
  readonly sql: string;
}

/** Number n of the list makes schema version n + 1. A released step is never changed: databases have it behind them. */
const migrations: readonly Migration[] = [
  {
    name: 'keys and the revision counter',
    sql: `
      CREATE TABLE entries (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        revision INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      INSERT INTO counters (name, value) VALUES ('revision', 0);
    `,
  },
];

export const schemaVersion = migrations.length;

/**
 * Applies what is missing, all or nothing.
 * @throws BellowsError NotSupportedHere when a newer Bellows wrote the database; nothing is touched then.
 */
export function migrate(database: DatabaseSync, path: string): void {
  database.exec('BEGIN IMMEDIATE');
  try {
    database.exec(`
      CREATE TABLE IF NOT EXISTS migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        applied_at_ms INTEGER NOT NULL
      ) STRICT`);
    const found = Number(
      database.prepare('SELECT coalesce(max(version), 0) AS version FROM migrations').get()?.['version'],
    );
    if (found > schemaVersion) {
      throw new BellowsError(
        'NotSupportedHere',
        `The database ${path} has schema version ${found}, written by a newer Bellows; this one knows versions up to ${schemaVersion}.`,
        'Start the newer Bellows again, or give this one another data directory with --data.',
      );
    }
    const record = database.prepare(
      "INSERT INTO migrations (version, name, applied_at_ms) VALUES (?, ?, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
    );
    for (const [index, migration] of migrations.entries()) {
      if (index < found) continue;
      database.exec(migration.sql);
      record.run(index + 1, migration.name);
    }
    database.exec('COMMIT');
  } catch (thrown) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw thrown;
  }
}
