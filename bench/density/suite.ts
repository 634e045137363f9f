// The functions of the density bench, as their owners would deploy them: one bundle each, and a handler that works on what its
// URL asks for, or answers at once when it is asked for nothing. Owns no figure and no call.
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { filesBelow } from '../../tests/support/apps.ts';
import { zipOf } from '../../tests/support/archives.ts';
import { projectRoot } from '../../tests/support/bellows.ts';

/** What each does is in `functions/NAME.mjs`. */
export const kinds = ['json', 'image', 'template', 'pdf', 'compiler'] as const;
export type Kind = (typeof kinds)[number];

const handler = `import { work } from './work.mjs';
export const handler = async ({ queryStringParameters }) => {
  const seed = queryStringParameters?.seed;
  return seed === undefined ? 'here' : await work(Number(seed));
};`;

/** The package that makes PDFs looks for its fonts with an import of its own, which a bundle does not have. */
const fonts = 'standard-fonts';

export async function archivesOf(memoryMib: number): Promise<ReadonlyMap<Kind, Buffer>> {
  const archives = new Map<Kind, Buffer>();
  for (const kind of kinds) archives.set(kind, await archiveOf(kind, memoryMib));
  return archives;
}

async function archiveOf(kind: Kind, memoryMib: number): Promise<Buffer> {
  const files: Record<string, string | Buffer> = {
    'index.mjs': handler,
    'work.mjs': await bundled(kind),
    'package.json': JSON.stringify({ type: 'module', imports: { [`#${fonts}/*`]: `./${fonts}/*.cjs` } }),
    'bellows.json': JSON.stringify({
      kind: 'function',
      handler: 'index.handler',
      url: true,
      timeout: 60,
      memory: `${memoryMib}MiB`,
    }),
  };
  if (kind === 'pdf') {
    const directory = join(projectRoot, 'node_modules', 'pdfkit', 'js', fonts);
    for (const [name, content] of Object.entries(filesBelow(directory))) files[`${fonts}/${name}`] = content;
  }
  return zipOf(files);
}

async function bundled(kind: Kind): Promise<string> {
  const input = join(projectRoot, 'bench', 'density', 'functions', `${kind}.mjs`);
  const bundle = await rolldown({ input, platform: 'node', logLevel: 'silent' });
  const { output } = await bundle.generate({ format: 'esm', codeSplitting: false });
  await bundle.close();
  return output[0].code;
}

/** So many functions of each kind, each with a name of its own. */
export function functionsOf(copies: number): { readonly kind: Kind; readonly name: string }[] {
  return Array.from({ length: copies }, (_, copy) =>
    kinds.map((kind) => ({ kind, name: `${kind}-${copy}` })),
  ).flat();
}
