// The fleet's process: takes the agent's place where instances run in virtual machines, at the agent's socket and in its
// protocol. Reads its configuration, serves, prepares what virtual machines need, and stops in order on SIGTERM.
import { checkDataDirectory } from '../agent/config.ts';
import { tellHostPressure } from '../agent/host-pressure.ts';
import { AgentServer } from '../agent/server.ts';
import { systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { keepDescriptorsFromChildren } from '../sys/descriptors.ts';
import { layoutOf } from '../sys/layout.ts';
import { createLogger } from '../sys/log.ts';
import { fleetConfig } from './fleet/config.ts';
import { fleetCapacity } from './fleet/capacity.ts';
import { Fleet } from './fleet/fleet.ts';
import { leftUnits, prepareMachinery } from './fleet/preparation.ts';

/** As the agent of a host has. */
const stopGraceMs = 5000;

process.title = 'bellows-units';
const log = createLogger('units');

async function main(): Promise<void> {
  const config = fleetConfig.parse(JSON.parse(process.env['BELLOWS_CONFIG'] ?? '{}'));
  checkDataDirectory(config.dataDirectory);
  keepDescriptorsFromChildren();
  const server = new AgentServer(layoutOf(config.dataDirectory).agentSocket, log);
  await server.checkFree();
  const capacity = await fleetCapacity(config.dataDirectory);
  const fleet = new Fleet({ config, capacity, clock: systemClock, log, emit: (event) => server.emit(event) });
  const stop = (): void => {
    fleet.close(stopGraceMs).then(
      () => {
        server.close();
        process.exit(0);
      },
      (error: unknown) => {
        log.error({ err: error }, 'the fleet could not stop in order');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  const prepared = prepareMachinery(config, fleet, log);
  // Whoever asks what runs must not be told "nothing" because nobody has looked yet. Where there is nothing to look at,
  // making an image may take a minute, in which everything else can begin.
  if (leftUnits(config.dataDirectory)) await prepared;
  await server.listen(fleet.handlers);
  tellHostPressure((event) => server.emit(event), log);
  log.info('ready');
}

main().catch((error: unknown) => {
  log.fatal({ err: error }, messageOf(error));
  process.exit(1);
});
