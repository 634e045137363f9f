import { expect, test } from 'vitest';
import { unitState } from './device-state.ts';

const head = Buffer.from('QEVM\0\0\0\x03', 'latin1');
/** A whole section: kind, number, name, instance, version, content. */
const section = (name: string, content: string): Buffer =>
  Buffer.concat([
    Buffer.from([4, 0, 0, 0, 7, name.length]),
    Buffer.from(name),
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 2]),
    Buffer.from(content),
  ]);
const template = Buffer.concat([
  head,
  Buffer.from('blocks'),
  section('timer', 'then'),
  section('cpu', 'then'),
]);
const devices = Buffer.concat([head, section('timer', 'now'), section('cpu', 'now')]);

test('a unit’s devices come behind the beginning of its template’s state', () => {
  expect(unitState(template, devices)).toEqual(
    Buffer.concat([head, Buffer.from('blocks'), section('timer', 'now'), section('cpu', 'now')]),
  );
});

test('a state whose devices do not begin as the template’s is refused', () => {
  const other = Buffer.concat([head, section('clock', 'now')]);
  for (const state of [other, Buffer.alloc(0), head, Buffer.from('QEVM and nothing of use')])
    expect(() => unitState(template, state)).toThrow(expect.objectContaining({ code: 'StartFailed' }));
});
