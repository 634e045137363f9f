// Who may call: making of keys and tokens, and the file that tells the person who runs Bellows.
// Owns DIR/credentials.json. Checking signatures and tokens is the API's.
import { randomBytes, randomInt } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { BellowsError, isDiskFull } from '../base/errors.ts';
import type { Tenant, TenantCredentials } from '../model/tenant.ts';
import { writeFileAtomic } from '../sys/atomic-file.ts';
import type { Logger } from '../sys/log.ts';

const accessKeyLetters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** In AWS's shape, which SDKs and scanners for leaked keys know: `AKIA` and 16 letters or digits; 40 characters of secret. */
export function newTenantCredentials(): TenantCredentials {
  let accessKeyId = 'AKIA';
  for (let i = 0; i < 16; i += 1) accessKeyId += accessKeyLetters.charAt(randomInt(accessKeyLetters.length));
  // 30 bytes are 40 characters of base 64, without padding.
  return { accessKeyId, secretAccessKey: randomBytes(30).toString('base64') };
}

const credentialsFile = z.object({ adminToken: z.string().min(20) });

/** The admin's token as the file holds it; undefined when there is no file yet. @throws BellowsError BadRequest when it is damaged */
export async function readAdminToken(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return undefined;
    throw thrown;
  }
  try {
    return credentialsFile.parse(JSON.parse(text)).adminToken;
  } catch (thrown) {
    throw new BellowsError(
      'BadRequest',
      `${path} does not hold credentials.`,
      'Restore the file, or remove it and restart: a new token is made then.',
      { cause: thrown },
    );
  }
}

export function newAdminToken(): string {
  return randomBytes(32).toString('base64url');
}

const ownerOnly = 0o600;

/** Replaces the file as a whole: a reader sees the old one or the new one. One that says it all already is left: a start needs no room on a disk. */
export async function writeCredentials(
  path: string,
  adminToken: string,
  tenants: readonly Tenant[],
): Promise<void> {
  // In one order, whichever they were made in: what is the same is the same text.
  const byTenant = Object.fromEntries(
    tenants.toSorted((a, b) => (a.id < b.id ? -1 : 1)).map((tenant) => [tenant.id, tenant.credentials]),
  );
  const content = `${JSON.stringify({ adminToken, tenants: byTenant }, null, 2)}\n`;
  if (await holds(path, content)) return;
  await writeFileAtomic(path, content, { mode: ownerOnly, durable: true });
}

async function holds(path: string, content: string): Promise<boolean> {
  try {
    return ((await stat(path)).mode & 0o777) === ownerOnly && (await readFile(path, 'utf8')) === content;
  } catch {
    // Not there, or not to be read: writing it says what is wrong.
    return false;
  }
}

/** For a start: on a full disk the file is as it was before the last change, and who has keys can go on with them. */
export async function unlessDiskIsFull(write: () => Promise<void>, log: Pick<Logger, 'warn'>): Promise<void> {
  try {
    await write();
  } catch (thrown) {
    if (!isDiskFull(thrown)) throw thrown;
    log.warn({ err: thrown }, 'the disk is full: the credentials file is not up to date');
  }
}
