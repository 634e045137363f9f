// The fleet's process: takes the agent's place where instances run in virtual machines, at the agent's socket and in its
// protocol; or beside the agent, for both as one (both/). Reads its configuration, serves, prepares what virtual machines need,
// and stops in order on SIGTERM.
import { checkDataDirectory } from '../agent/config.ts';
import { tellHostPressure } from '../agent/host-pressure.ts';
import { AgentServer } from '../agent/server.ts';
import { systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { agentProtocol, type AgentProtocol } from '../protocol/agent.ts';
import { RpcClient } from '../protocol/rpc-client.ts';
import type { EventOf, Protocol } from '../protocol/rpc.ts';
import { keepDescriptorsFromChildren } from '../sys/descriptors.ts';
import { layoutOf, type Layout } from '../sys/layout.ts';
import { createLogger } from '../sys/log.ts';
import { callerOf, Router } from './both/router.ts';
import { fleetConfig } from './fleet/config.ts';
import { fleetCapacity } from './fleet/capacity.ts';
import { Fleet } from './fleet/fleet.ts';
import { leftUnits, prepareMachinery } from './fleet/preparation.ts';
import { sweepFleet } from './fleet/sweep.ts';

/** As the agent of a host has. */
const stopGraceMs = 5000;
/** Agents ask nothing of who calls them. */
const nothingServed = { methods: {}, events: {} } satisfies Protocol;

process.title = 'bellows-units';
const log = createLogger('units');

async function main(): Promise<void> {
  const config = fleetConfig.parse(JSON.parse(process.env['BELLOWS_CONFIG'] ?? '{}'));
  checkDataDirectory(config.dataDirectory);
  keepDescriptorsFromChildren();
  const layout = layoutOf(config.dataDirectory);
  const server = new AgentServer(layout.agentSocket, log);
  await server.checkFree();
  const capacity = await fleetCapacity(config.dataDirectory);
  const fleet = new Fleet({
    config,
    ...(config.hostToo ? { logsDirectory: layout.machineLogs } : {}),
    capacity,
    clock: systemClock,
    log,
    emit: (event) => tell(event),
  });
  const router = config.hostToo ? besideHost(fleet, layout, server) : undefined;
  const tell = (event: EventOf<AgentProtocol>): void =>
    router === undefined ? server.emit(event) : router.onEvent('vm', event);
  const stop = (): void => {
    fleet
      .close(stopGraceMs)
      // What an earlier one left would be left again.
      .then(() => (fleet.isOpen ? undefined : sweepFleet(config, log)))
      .then(
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
  await server.listen(router?.handlers ?? fleet.handlers);
  tellHostPressure(tell, log);
  log.info('ready');
}

/** The fleet and this machine's agent as one. */
function besideHost(fleet: Fleet, layout: Layout, server: AgentServer): Router {
  const host = new RpcClient<typeof nothingServed, AgentProtocol>({
    socketPath: layout.hostAgentSocket,
    local: nothingServed,
    handlers: {},
    remote: agentProtocol,
    onConnect: () => Promise.resolve(),
    // What was told meanwhile is lost, and what was asked of it unanswered: whoever calls looks at everything anew.
    onDisconnect: () => {
      router.onGone('host');
      server.dropLinks();
    },
    onEvent: (event) => router.onEvent('host', event),
    onDefect: (error, context) => log.error({ err: error, context }, 'the link to the agent went wrong'),
  });
  const router = new Router({
    host,
    machines: callerOf(fleet.handlers),
    emit: (event) => server.emit(event),
  });
  return router;
}

main().catch((error: unknown) => {
  log.fatal({ err: error }, messageOf(error));
  process.exit(1);
});
