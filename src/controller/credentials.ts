// Who may call: making of keys and tokens, and the file that tells the person who runs Bellows.
// Owns DIR/credentials.json. Checking signatures and tokens is the API's.
import { randomBytes, randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';
import type { Tenant, TenantCredentials } from '../model/tenant.ts';
import { writeFileAtomic } from '../sys/atomic-file.ts';

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

/** Replaces the file as a whole: a reader sees the old one or the new one. */
export async function writeCredentials(
  path: string,
  adminToken: string,
  tenants: readonly Tenant[],
): Promise<void> {
  const byTenant = Object.fromEntries(tenants.map((tenant) => [tenant.id, tenant.credentials]));
  await writeFileAtomic(path, `${JSON.stringify({ adminToken, tenants: byTenant }, null, 2)}\n`, {
    mode: 0o600,
    durable: true,
  });
}
