// Serves the dashboard's few files. They are read once, at start; nothing else of the disk can be asked for.
import { readFile } from 'node:fs/promises';
import type { Answer } from './http/answer.ts';

const files = [
  { path: '/', file: 'index.html', mediaType: 'text/html; charset=utf-8' },
  { path: '/assets/dashboard.css', file: 'dashboard.css', mediaType: 'text/css; charset=utf-8' },
  { path: '/assets/dashboard.js', file: 'dashboard.js', mediaType: 'text/javascript; charset=utf-8' },
  { path: '/assets/icon.svg', file: 'icon.svg', mediaType: 'image/svg+xml' },
] as const;

/** The page runs its own script, calls its own origin, and nothing else: names of tenants and workloads are others' text. */
const pageHeaders = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cache-Control': 'no-cache',
} as const;

const directory = new URL('../dashboard/', import.meta.url);

/** A look-up of answers by path. */
export async function loadDashboard(): Promise<ReadonlyMap<string, Answer>> {
  const answers = new Map<string, Answer>();
  for (const { path, file, mediaType } of files) {
    const bytes = await readFile(new URL(file, directory));
    answers.set(path, { status: 200, bytes, mediaType, headers: pageHeaders });
  }
  const icon = answers.get('/assets/icon.svg');
  if (icon !== undefined) answers.set('/favicon.ico', icon);
  return answers;
}
