// The gateway's process: reads its configuration, runs until it is told to stop, and ends with a meaning.
// Exit codes: 0 after an orderly stop; 1 after a defect, for the supervisor to start it again; 2 for a bad configuration.
import { writeSync } from 'node:fs';
import { BellowsError, messageOf } from '../base/errors.ts';
import { createLogger } from '../sys/log.ts';
import { raiseOwnPriority } from '../sys/priority.ts';
import { keepTickShape } from '../sys/tick-shape.ts';
import { gatewayConfig, stopGraceMs } from './config.ts';
import { Gateway } from './gateway.ts';

keepTickShape();
process.title = 'bellows-gateway';
const log = createLogger('gateway');
if (!raiseOwnPriority('carries'))
  log.debug('no right to run before others; `bellows doctor` says what that means');

process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, error instanceof BellowsError ? 'can not go on' : 'uncaught');
  process.exit(1);
});
process.on('unhandledRejection', (reason) => {
  log.fatal({ err: reason }, 'unhandled rejection');
  process.exit(1);
});

function readConfig(): ReturnType<typeof gatewayConfig.parse> {
  try {
    return gatewayConfig.parse(JSON.parse(process.env['BELLOWS_CONFIG'] ?? ''));
  } catch (thrown) {
    log.fatal(
      { why: messageOf(thrown) },
      'BELLOWS_CONFIG is not a valid configuration; `bellows up` sets it',
    );
    process.exit(2);
  }
}

const config = readConfig();
const place = config.place?.index ?? 0;
if (place > 0) process.title = `bellows-gateway-${place + 1}`;
const gateway = new Gateway(config, log);
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    void gateway.stop(stopGraceMs).then(() => {
      log.info('stopped');
      process.exit(0);
    });
  });
}
process.on('SIGUSR2', () => {
  // Told apart from the one that serves, also by people who look at processes.
  process.title = 'bellows-leaving-gateway';
  const left = gateway.leave();
  say('leaving');
  void left.then(() => {
    log.info('left');
    process.exit(0);
  });
});
const ports = await gateway.start();
log.info(ports, 'ready');
say('ready');

/** To who has started this. Perhaps nobody reads it: that may have been killed meanwhile. */
function say(word: 'ready' | 'leaving'): void {
  if (config.wordDescriptor === undefined) return;
  try {
    writeSync(config.wordDescriptor, `${word}\n`);
  } catch (thrown) {
    log.warn({ why: messageOf(thrown), word }, 'nobody was told');
  }
}
