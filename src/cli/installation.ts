// Where the Bellows is that a command talks to: its data directory, credentials and address, from what was given, the
// environment, or the files that `bellows up` leaves. Owns finding, not talking (client.ts).
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { TenantId } from '../base/ids.ts';
import { messageOf } from '../base/errors.ts';
import { readEndpoint } from '../supervisor/records.ts';
import { layoutOf } from '../sys/layout.ts';
import { exitCode } from './exit-code.ts';
import { CommandError, usageError } from './failure.ts';

export const defaultPort = 8080;

export interface GlobalOptions {
  readonly json: boolean;
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  readonly dataDir?: string | undefined;
}

const keys = z.object({ accessKeyId: z.string().min(1), secretAccessKey: z.string().min(1) });
export type AwsKeys = z.infer<typeof keys>;
const credentialsFile = z.object({ adminToken: z.string().min(1), tenants: z.record(z.string(), keys) });

export function dataDirectoryOf(given: string | undefined, env: NodeJS.ProcessEnv): string {
  return resolve(given ?? (env['BELLOWS_DATA'] || join(homedir(), '.bellows')));
}

export class Installation {
  readonly dataDirectory: string;
  readonly #options: GlobalOptions;
  readonly #env: NodeJS.ProcessEnv;

  constructor(options: GlobalOptions, env: NodeJS.ProcessEnv) {
    this.#options = options;
    this.#env = env;
    this.dataDirectory = dataDirectoryOf(options.dataDir, env);
  }

  /** `--url`, `BELLOWS_URL`, what `bellows up` wrote down, the default port. Without a slash at its end. */
  url(): string {
    const given = this.#options.url ?? (this.#env['BELLOWS_URL'] || undefined);
    if (given === undefined)
      return readEndpoint(this.dataDirectory)?.url ?? `http://127.0.0.1:${defaultPort}`;
    const parsed = URL.canParse(given) ? new URL(given) : undefined;
    if (parsed === undefined || !['http:', 'https:'].includes(parsed.protocol))
      throw usageError(
        `${JSON.stringify(given)} is no address of a Bellows.`,
        'Write it like --url http://127.0.0.1:8080',
      );
    return parsed.href.replace(/\/+$/, '');
  }

  token(): string {
    return this.#options.token ?? (this.#env['BELLOWS_TOKEN'] || undefined) ?? this.#credentials().adminToken;
  }

  /** A tenant's AWS keys: from the environment as the AWS tools take them when an address was given, else from the file. */
  keysOf(tenant: TenantId): AwsKeys {
    const fromEnvironment = keys.safeParse({
      accessKeyId: this.#env['AWS_ACCESS_KEY_ID'],
      secretAccessKey: this.#env['AWS_SECRET_ACCESS_KEY'],
    });
    const remote =
      (this.#options.url ?? this.#env['BELLOWS_URL']) !== undefined && this.#options.dataDir === undefined;
    if (remote && fromEnvironment.success) return fromEnvironment.data;
    const found = this.#credentials().tenants[tenant];
    if (found !== undefined) return found;
    throw new CommandError(
      exitCode.failed,
      `There is no tenant ${tenant} in ${layoutOf(this.dataDirectory).credentials}.`,
      'List them with: bellows tenants list',
    );
  }

  #credentials(): z.infer<typeof credentialsFile> {
    const path = layoutOf(this.dataDirectory).credentials;
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (thrown) {
      const why =
        thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT'
          ? 'is not there'
          : `can not be read: ${messageOf(thrown)}`;
      throw new CommandError(
        exitCode.unreachable,
        `The credentials file ${path} ${why}.`,
        'Start Bellows with `bellows up`, again if it runs: the file is made anew. Or say where it is: --data-dir DIR, or --url URL --token TOKEN',
      );
    }
    try {
      return credentialsFile.parse(JSON.parse(text));
    } catch {
      throw new CommandError(
        exitCode.failed,
        `${path} does not hold credentials.`,
        'Restore it, or remove it and start Bellows again: a new token is made then.',
      );
    }
  }
}
