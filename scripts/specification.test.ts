// docs/SPECIFICATION.md names every row of the mission once, and no test or bench that is not there.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = readFileSync(`${root}docs/SPECIFICATION.md`, 'utf8');

test('every row of the mission stands there once', () => {
  const rows = { A: 7, B: 6, C: 6, D: 4, E: 8 };
  const ids = Object.entries(rows).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, index) => `${letter}${index + 1}`),
  );
  expect([...text.matchAll(/^\| ([A-E]\d) \|/gm)].map(([, id]) => id)).toEqual(ids);
});

test('every test and bench that it names is there', () => {
  const files = [...text.matchAll(/`((?:src|tests)\/[^`]+\.test\.ts)`/g)].map(([, path = '']) => path);
  expect(files.length).toBeGreaterThan(40);
  expect(files.filter((path) => !existsSync(`${root}${path}`))).toEqual([]);
  const benches = [...text.matchAll(/`npm run bench ([a-z]+)`/g)].map(([, name = '']) => name);
  expect(benches.filter((name) => !existsSync(`${root}bench/${name}.ts`))).toEqual([]);
});
