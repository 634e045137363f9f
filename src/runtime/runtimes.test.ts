// How commands become processes: what the agent gets from the seam.
import { describe, expect, test } from 'vitest';
import { BellowsError } from '../base/errors.ts';
import { splitCommandLine } from './command-line.ts';
import type { LaunchPlaces } from './port.ts';
import { runtimes } from './runtimes.ts';

const places: LaunchPlaces = {
  node: '/bin/node',
  runtimeDirectory: '/opt/bellows/runtime',
  runDirectory: '/run/bellows',
  ceilingBytes: 10 * 1024 ** 3,
};
const app = (start: string | null) => ({
  kind: 'app' as const,
  start,
  env: { A: '1' },
  taskDirectory: '/var/task',
});

test.each<[string, readonly string[] | null]>([
  ['node server.js', ['node', 'server.js']],
  [`  a  'b c' "d e"f\\ g ''`, ['a', 'b c', 'd ef g', '']],
  ['run --port=1', ['run', '--port=1']],
  ['A=1 run', null],
  ['a | b', null],
  ['a && b', null],
  ['echo $PORT', null],
  [`echo "$PORT"`, null],
  ['ls *.js', null],
  [`open 'quote`, null],
  ['end\\', null],
  ['', []],
])('the command line %j is split as a shell would: %j', (line, words) => {
  expect(splitCommandLine(line)).toEqual(words);
});

describe('nodejs26.x', () => {
  test('waits unbound, with the ceiling it may ever grow to', () => {
    const plan = runtimes['nodejs26.x'].pooled(places);
    expect(plan?.command).toBe('/bin/node');
    expect(plan?.args).toContain('--max-old-space-size=10240');
    expect(plan?.args.at(-1)).toBe('/opt/bellows/runtime/node/main.js');
    expect(plan?.env['BELLOWS_RUN_DIR']).toBe('/run/bellows');
  });
  test('takes the script and its arguments of an app', () => {
    expect(runtimes['nodejs26.x'].launch(app(`node server.js --name 'a b'`), places, 3000)).toEqual({
      way: 'bind',
      argv: ['server.js', '--name', 'a b'],
    });
  });
  test.each([
    ['npm start', 'npm', ['start']],
    ['next start', 'next', ['start']],
    ['node --inspect server.js', 'node', ['--inspect', 'server.js']],
    ['MODE=live node a.js', '/bin/sh', ['-c', 'trap : TERM; MODE=live node a.js']],
  ])(
    'starts the app %j as it is, with its port, its node and its dependencies in reach',
    (start, command, args) => {
      expect(runtimes['nodejs26.x'].launch(app(start), places, 3000)).toEqual({
        way: 'exec',
        plan: {
          command,
          args,
          env: {
            A: '1',
            PORT: '3000',
            PATH: '/var/task/node_modules/.bin:/bin:/usr/local/bin:/usr/bin:/bin',
          },
        },
        portVariable: 'PORT',
      });
    },
  );
  test('keeps the PATH that an app asks for, after its own', () => {
    const asked = { ...app('serve'), env: { PATH: '/var/task/tools' } };
    expect(runtimes['nodejs26.x'].launch(asked, places, 3000)).toMatchObject({
      plan: { env: { PATH: '/var/task/node_modules/.bin:/bin:/var/task/tools' } },
    });
  });
  test.each([null, ' '])('refuses an app without a command: %j', (start) => {
    expect(() => runtimes['nodejs26.x'].launch(app(start), places, 3000)).toThrow(BellowsError);
  });
});

describe('custom', () => {
  test('is started as written, with its port', () => {
    expect(runtimes.custom.launch(app('python3 -m http.server'), places, 4000)).toMatchObject({
      way: 'exec',
      plan: { command: 'python3', args: ['-m', 'http.server'], env: { A: '1', PORT: '4000' } },
    });
    expect(runtimes.custom.pooled(places)).toBeNull();
  });
  test('goes through a shell where it must', () => {
    expect(runtimes.custom.launch(app('serve --port $PORT && true'), places, 4000)).toMatchObject({
      plan: { command: '/bin/sh', args: ['-c', 'trap : TERM; serve --port $PORT && true'] },
    });
  });
  test('refuses functions and empty commands', () => {
    expect(() => runtimes.custom.launch({ ...app('x'), kind: 'function' }, places, 1)).toThrow(BellowsError);
    expect(() => runtimes.custom.launch(app(' '), places, 1)).toThrow(BellowsError);
  });
});
