// Wrong command lines, their exit codes and what is said of them.
import { join } from 'node:path';
import { projectRoot } from '../../support/bellows.ts';

type CliCase = readonly [what: string, args: readonly string[], code: number, message: RegExp];
export const cliCases: readonly CliCase[] = [
  ['an unknown command', ['dance'], 2, /dance/],
  ['an unknown option', ['ps', '--fast'], 2, /--fast/],
  ['a missing argument', ['invoke'], 2, /name/],
  ['too many arguments', ['ps', 'all', 'of', 'them'], 2, /argument/],
  ['a quantity that is none', ['resize', 'stateful', '--memory', '12XB'], 2, /12XB/],
  ['a negative quantity', ['limits', 'set', 'default', '--memory=-1MiB'], 2, /-1MiB/],
  ['a resize of nothing', ['resize', 'stateful'], 2, /--memory/],
  ['a port that is none', ['up', '--port', '99999'], 2, /port/],
  ['data that is no JSON', ['invoke', 'hello', '--data', '{name: Ada}'], 2, /JSON/],
  ['data of a file that is not there', ['invoke', 'hello', '--data', '@/nonexistent'], 2, /nonexistent/],
  ['a function that is not there', ['invoke', 'nobody'], 1, /nobody/],
  ['an app that is not there', ['resize', 'nobody', '--memory', '64MiB'], 1, /nobody/],
  ['a directory that is not there', ['deploy', '/nonexistent/app'], 2, /nonexistent/],
  ['a directory without bellows.json', ['deploy', join(projectRoot, 'docs')], 2, /bellows\.json/],
  ['a name that can not be one', ['invoke', '../../etc'], 2, /can not be/],
  ['a wrong token', ['ps', '--token', 'wrong'], 1, /token/],
  ['a port where nothing listens', ['ps', '--url', 'http://127.0.0.1:1'], 3, /127\.0\.0\.1:1/],
];
