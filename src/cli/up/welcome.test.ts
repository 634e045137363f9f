import { expect, test } from 'vitest';
import { welcome, type WelcomeFacts } from './welcome.ts';

const facts: WelcomeFacts = {
  url: 'http://127.0.0.1:8080',
  dataDirectory: '/data',
  credentialsPath: '/data/credentials.json',
  logPath: '/data/logs/bellows.log',
  program: 'npx bellows',
  isDefaultData: true,
  deployed: new Set(['hello', 'chat', 'thumbnails']),
  helloDirectory: 'examples/hello',
};
const commandsOf = (text: string): string[] => text.split('\n').filter((line) => /^ {2}npx /.test(line));

test('with the examples it prints the chat and the three commands of the README', () => {
  const text = welcome(facts);
  expect(text).toContain('http://127.0.0.1:8080/w/default/chat/');
  expect(commandsOf(text)).toEqual([
    `  npx bellows invoke hello --data '{"name":"Ada"}'`,
    '  npx bellows resize chat --memory 256MiB',
    '  npx bellows ps',
  ]);
});

test('without the examples it names nothing that is not there, and says how to deploy one', () => {
  const text = welcome({ ...facts, deployed: new Set() });
  expect(text).not.toContain('chat');
  expect(commandsOf(text)).toEqual([
    '  npx bellows deploy examples/hello',
    `  npx bellows invoke hello --data '{"name":"Ada"}'`,
    '  npx bellows ps',
  ]);
});

test('a data directory that is not the usual one is named in every command, as a shell reads it', () => {
  const text = welcome({ ...facts, isDefaultData: false, dataDirectory: "/tmp/Ada's data" });
  for (const line of commandsOf(text)) expect(line).toMatch(/ --data-dir '\/tmp\/Ada'\\''s data'$/);
});
