// What a handler is given besides its arguments: output, the client, the environment, and the wish to stop.
import { Client } from './client.ts';
import { Installation, type GlobalOptions } from './installation.ts';
import type { Output } from './output.ts';

export interface Context {
  readonly out: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly options: GlobalOptions;
  readonly installation: Installation;
  /** Made at first use: `--help` and `up` need none. */
  readonly client: Client;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Aborted by Ctrl-C, or when nobody reads our output any more: for what goes on until then. */
  readonly signal: AbortSignal;
}

export function makeContext(parts: Omit<Context, 'installation' | 'client'>): Context {
  const installation = new Installation(parts.options, parts.env);
  let client: Client | undefined;
  return {
    ...parts,
    installation,
    get client() {
      client ??= new Client(installation, parts.signal);
      return client;
    },
  };
}
