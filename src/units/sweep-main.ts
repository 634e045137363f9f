// A process that ends what an earlier Bellows left in units that this one does not have, and is done: `host` for instances on
// this machine itself, `vm` for virtual machines. Run by the supervisor, before there is anybody else who would answer for those.
import { rmSync } from 'node:fs';
import { Agent } from '../agent/agent.ts';
import { agentConfig } from '../agent/config.ts';
import { systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { unitKinds, type UnitKind } from '../model/unit-kind.ts';
import { layoutOf } from '../sys/layout.ts';
import { createLogger } from '../sys/log.ts';
import { sweepFleet } from './fleet/sweep.ts';

/** As instances are given at an orderly stop (src/supervisor/supervisor.ts). */
const graceMs = 10_000;

process.title = 'bellows-sweep';
const log = createLogger('units');

const sweeps: Readonly<Record<UnitKind, () => Promise<void>>> = {
  /** An agent that adopts them is what can ask them to end. */
  host: async () => {
    const agent = new Agent({ config, clock: systemClock, log, emit: () => undefined });
    await agent.open();
    await agent.close(graceMs);
  },
  vm: () => sweepFleet(config, log),
};

const config = agentConfig.parse({
  ...JSON.parse(process.env['BELLOWS_CONFIG'] ?? '{}'),
  spareSandbox: false,
});
const kinds = unitKinds.filter((kind) => process.argv.slice(2).includes(kind));
Promise.all(kinds.map((kind) => sweeps[kind]()))
  .then(() => {
    // Of where both were.
    rmSync(layoutOf(config.dataDirectory).hostAgentSocket, { force: true });
    process.exit(0);
  })
  .catch((error: unknown) => {
    log.fatal({ err: error }, messageOf(error));
    process.exit(1);
  });
