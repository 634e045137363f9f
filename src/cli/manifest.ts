// What a directory is to be deployed as: its bellows.json, or what its files say without doubt.
// The manifest itself is checked by the API, which unpacks it; here only what must be known before.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../base/errors.ts';
import { usageError } from './failure.ts';

const fileName = 'bellows.json';
const packageJson = z.looseObject({ scripts: z.looseObject({ start: z.string().optional() }).optional() });

export type Found =
  | { readonly is: 'manifest' }
  /** What bellows.json would have to say. */
  | {
      readonly is: 'inferred';
      readonly manifest: Readonly<Record<string, string>>;
      readonly because: string;
    };

/** @throws CommandError when it is not clear what the directory is */
export async function findManifest(directory: string): Promise<Found> {
  const manifest = await textOf(directory, fileName);
  if (manifest !== undefined) {
    checkJson(join(directory, fileName), manifest);
    return { is: 'manifest' };
  }
  const start = await startScript(directory);
  const handlerFiles = await filesWithHandler(directory);
  if (start !== undefined && handlerFiles.length > 0)
    throw unclear(directory, `package.json has a start script, and ${handlerFiles[0]} exports a handler`);
  if (start !== undefined)
    return {
      is: 'inferred',
      manifest: { kind: 'app', start },
      because: `package.json starts it with "${start}"`,
    };
  const [file, ...others] = handlerFiles;
  if (file !== undefined && others.length === 0)
    return {
      is: 'inferred',
      manifest: { kind: 'function', handler: 'index.handler' },
      because: `${file} exports a handler`,
    };
  throw unclear(
    directory,
    file === undefined
      ? 'there is no start script in a package.json, and no index.js that exports a handler'
      : `${handlerFiles.join(' and ')} both export a handler`,
  );
}

async function startScript(directory: string): Promise<string | undefined> {
  const parsed = packageJson.safeParse(parseJson((await textOf(directory, 'package.json')) ?? ''));
  return parsed.success ? parsed.data.scripts?.start : undefined;
}

/** Read, not run: `export const handler`, `exports.handler =`, `export { handler }`. */
const exportsHandler =
  /\bexports\.handler\s*=|\bexport\s+(?:const|let|var|async\s+function|function)\s+handler\b|\bexport\s*\{[^}]*\bhandler\b[^}]*\}/;

async function filesWithHandler(directory: string): Promise<string[]> {
  const names = ['index.mjs', 'index.js', 'index.cjs'];
  const texts = await Promise.all(names.map((name) => textOf(directory, name)));
  return names.filter((_, index) => exportsHandler.test(texts[index] ?? ''));
}

async function textOf(directory: string, name: string): Promise<string | undefined> {
  try {
    return await readFile(join(directory, name), 'utf8');
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** @throws CommandError that says where it ends being JSON */
function checkJson(path: string, text: string): void {
  const hint = 'Correct it; an example: {"kind":"app","start":"node server.js"}';
  if (text.trim() === '') throw usageError(`${path} is empty.`, hint);
  try {
    JSON.parse(text);
  } catch (thrown) {
    throw usageError(`${path} is not JSON: ${messageOf(thrown)}.`, hint);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unclear(directory: string, why: string): Error {
  return usageError(
    `What ${directory} is to be deployed as is not clear: ${why}.`,
    `Add ${fileName}: {"kind":"app","start":"node server.js"} or {"kind":"function","handler":"index.handler"}`,
  );
}
