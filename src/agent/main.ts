// The agent's process: reads its configuration, starts, serves, and stops in order on SIGTERM.
import { systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { layoutOf } from '../sys/layout.ts';
import { createLogger } from '../sys/log.ts';
import { raiseOwnPriority } from '../sys/priority.ts';
import { Agent } from './agent.ts';
import { agentConfig } from './config.ts';
import { tellHostPressure } from './host-pressure.ts';
import { AgentServer } from './server.ts';

/** Without `shutdown` before it, a SIGTERM ends everything in the time that service managers give by default (90 s), and less. */
const stopGraceMs = 5000;

process.title = 'bellows-agent';
const log = createLogger('agent');
if (!raiseOwnPriority('changes'))
  log.debug('no right to run before others; `bellows doctor` says what that means');

async function main(): Promise<void> {
  const config = agentConfig.parse(JSON.parse(process.env['BELLOWS_CONFIG'] ?? '{}'));
  const { agentSocket, hostAgentSocket } = layoutOf(config.dataDirectory);
  const server = new AgentServer(config.hostToo ? hostAgentSocket : agentSocket, log);
  await server.checkFree();
  const agent = new Agent({ config, clock: systemClock, log, emit: (event) => server.emit(event) });
  const stop = (): void => {
    agent.close(stopGraceMs).then(
      () => {
        server.close();
        process.exit(0);
      },
      (error: unknown) => {
        log.error({ err: error }, 'the agent could not stop in order');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  await agent.open();
  await server.listen(agent.handlers);
  tellHostPressure((event) => server.emit(event), log);
  log.info('ready');
}

main().catch((error: unknown) => {
  log.fatal({ err: error }, messageOf(error));
  process.exit(1);
});
