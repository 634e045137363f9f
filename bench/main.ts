// `npm run bench [NAME…]`: measures what docs/SPECIFICATION.md promises, each beside its peer in the same run.
// Prints a table and, with --json FILE, writes the figures. Exit code 1 when an aim is missed.
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { humanBytes } from '../src/base/quantity.ts';
import type { Bench, Figure } from './figure.ts';
import { allocator } from './allocator.ts';
import { connectionsBench } from './connections.ts';
import { density } from './density.ts';
import { gateway } from './gateway.ts';
import { hibernate } from './hibernate.ts';
import { hibernateApp } from './hibernate-app.ts';
import { invoke } from './invoke.ts';
import { replayed } from './replay.ts';
import { resize } from './resize.ts';
import { start } from './start.ts';
import { trace } from './trace.ts';
import { upgrade } from './upgrade.ts';
import { vm } from './vm.ts';

const benches: Readonly<Record<string, Bench>> = {
  resize,
  start,
  invoke,
  gateway,
  connections: connectionsBench,
  upgrade,
  hibernate,
  'hibernate-app': hibernateApp,
  vm,
  allocator,
  trace,
  density,
  replay: replayed,
};

const args = process.argv.slice(2);
const jsonAt = args.indexOf('--json');
const jsonFile = jsonAt < 0 ? undefined : args.splice(jsonAt, 2)[1];
const names = args.length > 0 ? args : Object.keys(benches);

const figures: Figure[] = [];
for (const name of names) {
  const bench = benches[name];
  if (bench === undefined) {
    console.error(`There is no bench ${name}; there are ${Object.keys(benches).join(', ')}.`);
    process.exit(2);
  }
  console.log(`\n${name}: ${bench.what}`);
  const measured = await bench.run();
  for (const figure of measured) {
    const verdict = figure.met === undefined ? '' : figure.met ? '  met' : '  MISSED';
    console.log(
      `  ${figure.name.padEnd(58)} ${figure.value.padStart(14)}${figure.aim === undefined ? '' : `   aim ${figure.aim}`}${verdict}`,
    );
  }
  figures.push(...measured);
}
console.log(
  `\nOn ${cpus().length} × ${cpus()[0]?.model ?? 'unknown CPU'}, ${humanBytes(totalmem())}, Node ${process.version}.`,
);
const aimed = figures.filter((figure) => figure.aim !== undefined);
if (aimed.length > 0) console.log('\nAims:');
for (const { name, value, aim, met } of aimed) {
  const verdict = met === undefined ? 'not measured' : met ? 'met' : 'MISSED';
  console.log(`  ${name.trim().padEnd(64)} ${value.padStart(32)}   aim ${aim?.padEnd(12)} ${verdict}`);
}
if (jsonFile !== undefined) writeFileSync(jsonFile, `${JSON.stringify(figures, null, 2)}\n`);
const missed = figures.filter((figure) => figure.met === false);
if (missed.length > 0) {
  console.error(`Missed: ${missed.map((figure) => figure.name).join('; ')}`);
  process.exit(1);
}
