import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { layoutOf } from '../../sys/layout.ts';
import { Harness } from '../testing/harness.ts';

test('a controller that stops does not wait for one who connected and said nothing', async () => {
  const harness = await Harness.start();
  const silent = connect(layoutOf(harness.directory).controllerSocket);
  await once(silent, 'connect');
  // The server has it when it has answered somebody who came later.
  const gateway = await harness.gateway({});
  gateway.client.close();
  const ended = once(silent.resume(), 'close');
  await harness.close();
  await ended;
  expect(silent.destroyed).toBe(true);
});
