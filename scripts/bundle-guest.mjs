// Bundles the agent that runs in virtual machines into few files: node scripts/bundle-guest.mjs DIRECTORY. Under an
// emulated processor each module that is read costs milliseconds, and there are some three hundred with npm's.
// Runs when the npm package is made, and in a checkout whenever an image is: so the bundler is no production dependency.
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('Say where to write: node scripts/bundle-guest.mjs DIRECTORY');

await build({
  cwd: root,
  input: { main: join(root, 'src/agent/guest/main.ts') },
  platform: 'node',
  logLevel: 'warn',
  output: {
    dir: resolve(directory),
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name].js',
  },
});
