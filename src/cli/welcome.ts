// What `bellows up` says when it serves: where to look, and three commands to try. README.md has the same three.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Layout } from '../sys/layout.ts';

export interface WelcomeFacts {
  readonly url: string;
  readonly layout: Layout;
  readonly logPath: string;
  /** Whether commands find this data directory without being told. */
  readonly isDefaultData: boolean;
}

/** In a checkout npm finds the command; where it is installed it is on the path. */
const program = existsSync(fileURLToPath(new URL('../../.gitignore', import.meta.url)))
  ? 'npx bellows'
  : 'bellows';

export function welcome({ url, layout, logPath, isDefaultData }: WelcomeFacts): string {
  const where = isDefaultData ? '' : ` --data-dir ${quoted(layout.root)}`;
  return [
    '',
    'Bellows is ready.',
    `  address      ${url}`,
    `  dashboard    ${url}/`,
    `  chat         ${url}/w/default/chat/`,
    `  data         ${layout.root}`,
    `  credentials  ${layout.credentials}`,
    `  log          ${logPath}`,
    '',
    'Try, in another terminal:',
    `  ${program} invoke hello --data '{"name":"Ada"}'${where}`,
    `  ${program} resize chat --memory 256MiB${where}`,
    `  ${program} ps${where}`,
    '',
    'Ctrl-C stops it.',
    '',
  ].join('\n');
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
