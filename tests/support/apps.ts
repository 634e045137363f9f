// Deploys apps for tests, with the npm packages that they need taken unmodified from this checkout's node_modules.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type Bellows, projectRoot } from './bellows.ts';
import { tarGzOf } from './archives.ts';

/** Files of a directory by their path in it. */
export function filesBelow(directory: string): Record<string, Buffer> {
  const files: Record<string, Buffer> = {};
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const path = join(directory, name);
    if (statSync(path).isFile()) files[relative(directory, path)] = readFileSync(path);
  }
  return files;
}

/**
 * A directory below the project with `packages` installed in it, as an archive for deployment.
 * @param manifest what its `bellows.json` is to say otherwise
 */
export async function archiveOf(
  directory: string,
  packages: readonly string[],
  manifest: Readonly<Record<string, string | boolean>> = {},
): Promise<Buffer> {
  const files = filesBelow(join(projectRoot, directory));
  const own = files['bellows.json'];
  if (own !== undefined) {
    const said = JSON.parse(own.toString()) as Record<string, unknown>;
    files['bellows.json'] = Buffer.from(JSON.stringify({ ...said, ...manifest }));
  }
  for (const name of packages) {
    for (const [path, content] of Object.entries(filesBelow(join(projectRoot, 'node_modules', name)))) {
      files[`node_modules/${name}/${path}`] = content;
    }
  }
  return tarGzOf(files);
}

export async function deployStatefulApp(
  bellows: Bellows,
  tenant = 'default',
  name = 'stateful',
  manifest: Readonly<Record<string, string | boolean>> = {},
): Promise<void> {
  const answer = await bellows.v1(
    'PUT',
    `/workloads/${tenant}/${name}`,
    await archiveOf('tests/fixtures/stateful-app', ['ws'], manifest),
  );
  if (answer.status >= 300)
    throw new Error(`deploy answered ${answer.status}: ${JSON.stringify(answer.body)}`);
}

/** Reads a quantity of an answer: `384MiB`, `1GiB`, `500m`, `2`, or a bare number of base units. Independent of src/. */
export function amountOf(kind: 'memory' | 'storage' | 'cpu', text: string): number {
  const match = /^([\d.]+)(KiB|MiB|GiB|m)?$/.exec(text);
  if (match === null) throw new Error(`${text} is not in the notation`);
  const number = Number(match[1]);
  if (kind === 'cpu') return match[2] === 'm' ? number : number * 1000;
  return number * { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, m: NaN }[match[2] ?? '']!;
}
