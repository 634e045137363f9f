// Hundreds of connections stay while everything behind them moves, by the unmodified client `ws`: the short form of
// `npm run bench connections`. What each of these moves does by itself is in the other suites.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bellows, eventually } from '../support/bellows.ts';
import { idleSeconds, MovesBehind } from '../support/moves-behind.ts';
import { NumberedSockets } from '../support/numbered-sockets.ts';

const socketsEach = 200;
const messagesPerSecondEach = 200;
/** After the last of the moves: two over each connection. */
const leastSent = 2 * socketsEach;
const seed = 2_026;

let bellows: Bellows;
beforeAll(async () => {
  bellows = await Bellows.start({
    args: ['--no-examples', '--unit', 'host', '--keep-alive', `${idleSeconds}`],
  });
});
afterAll(async () => {
  await bellows.stop();
});

test('M-C3 M-C4 M-E6: 200 held and 200 direct connections stay through 50 limit changes, 3 deployments, 2 times without any instance, kill -9 of the controller and an upgrade of the gateway; each message comes back once and in order', async () => {
  const moves = new MovesBehind(bellows, seed);
  await moves.deployBoth('tests/fixtures/stateful-app');
  const at = (path: string): string => `ws://127.0.0.1:${bellows.port}${path}`;
  const held = await NumberedSockets.open(at(moves.heldPath), socketsEach);
  const direct = await NumberedSockets.open(at(moves.directPath), socketsEach);
  const ports = [held.localPorts, direct.localPorts];
  const limits = async (count: number): Promise<void> => {
    for (let change = 0; change < count; change += 1) await moves.changeALimit();
  };
  /** Its clients are silent until it has no instance; their next messages wake it. */
  const hibernate = async (): Promise<void> => {
    await held.stop();
    await moves.untilNoneOfHeld();
    held.start(messagesPerSecondEach);
  };
  try {
    held.start(messagesPerSecondEach);
    direct.start(messagesPerSecondEach);
    await limits(10);
    await Promise.all([limits(10), moves.deployHeld()]);
    await Promise.all([limits(10), hibernate()]);
    await Promise.all([limits(10), moves.killController(), moves.deployHeld()]);
    await Promise.all([limits(10), moves.upgradeGateway()]);
    await hibernate();
    await moves.deployHeld();
    const sentBefore = [held.sent, direct.sent] as const;
    await eventually(
      () => held.sent >= sentBefore[0] + leastSent && direct.sent >= sentBefore[1] + leastSent,
      { timeoutMs: 60_000, what: () => `${leastSent} more messages to be sent over each kind` },
    );
    const accounts = { held: await held.stop(), direct: await direct.stop() };
    console.log(`M-C4: ${JSON.stringify({ ...accounts, limits: moves.limitChanges })}`);
    const unharmed = { lost: 0, doubled: 0, reordered: 0, closes: 0 };
    expect(accounts).toMatchObject({ held: unharmed, direct: unharmed });
    expect([held.localPorts, direct.localPorts]).toEqual(ports);
    const { applied, deferred, infeasible } = moves.limitChanges;
    expect(applied + deferred + infeasible).toBe(50);
    expect(applied + deferred).toBeGreaterThan(0);
  } finally {
    held.close();
    direct.close();
  }
});
