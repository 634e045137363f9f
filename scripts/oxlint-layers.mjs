// The layer rule (docs/ARCHITECTURE.md), as an oxlint rule: a folder of src/ may import itself and those before it.
import { isBuiltin } from 'node:module';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const ORDER =
  'base sys model allocator protocol store runtime agent units gateway controller api supervisor cli';
const LAYERS = ORDER.split(' ');
/** Exceptions, narrower than "those before it". */
const ONLY = {
  model: ['base', 'model'],
  allocator: ['base', 'model', 'allocator'],
  runtime: ['base', 'sys', 'model', 'runtime'],
};
/** Single files that may be imported beyond that: what is said on an instance's socket is one file without packages. */
const ALSO = { runtime: ['src/protocol/instance.ts'] };
/** Runs beside user code (or is imported by what does): no npm package. */
const NO_NPM = new Set(['base', 'runtime']);
/** No I/O: of Node's own modules only these. */
const PURE = new Set(['base', 'model', 'allocator']);
const PURE_BUILTINS = new Set([
  'assert',
  'assert/strict',
  'buffer',
  'crypto',
  'events',
  'path',
  'url',
  'util',
]);

/** Tests, and contract suites and helpers that only tests import: they may look anywhere. */
function isTest(file) {
  return /\.test\.ts$|\/contract\.ts$|\/(testing|fixtures)\//.test(file);
}

/** Why `file` (path from the root) may not import `specifier`; undefined if it may. */
export function refusal(file, specifier) {
  const [top, layer] = file.split('/');
  if (top !== 'src' || isTest(file)) return undefined;
  const index = LAYERS.indexOf(layer);
  if (index < 0) return `src/${layer} is no layer: add it to scripts/oxlint-layers.mjs`;
  if (specifier.startsWith('.') || specifier.startsWith('#')) {
    const target = path.posix.join(path.posix.dirname(file), specifier);
    const [targetTop, targetLayer] = target.split('/');
    if (targetTop !== 'src')
      return target === 'package.json' ? undefined : `src may not import ${targetTop}/`;
    const allowed = ONLY[layer] ?? LAYERS.slice(0, index + 1);
    if (allowed.includes(targetLayer) || ALSO[layer]?.includes(target)) return undefined;
    return `src/${layer} may import only ${allowed.join(', ')}: not ${targetLayer}`;
  }
  if (isBuiltin(specifier)) {
    if (!PURE.has(layer) || PURE_BUILTINS.has(specifier.replace(/^node:/, ''))) return undefined;
    return `src/${layer} does no I/O: not ${specifier}`;
  }
  return NO_NPM.has(layer) ? `src/${layer} may not import npm packages: not ${specifier}` : undefined;
}

const layers = {
  create(context) {
    const file = path.relative(root, context.filename).replaceAll(path.sep, '/');
    if (!file.startsWith('src/')) return {};
    const check = (node) => {
      const source = node.source;
      if (source?.type !== 'Literal' || typeof source.value !== 'string') return;
      const message = refusal(file, source.value);
      if (message) context.report({ node: source, message });
    };
    return {
      ImportDeclaration: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
      ImportExpression: check,
      TSImportType: check,
    };
  },
};

export default { meta: { name: 'bellows' }, rules: { layers } };
