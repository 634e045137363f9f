// The controller's process: reads its configuration, starts the controller, serves its HTTP, ends in order.
// Exit codes: 0 after an orderly stop; 1 after a defect, for the supervisor to start it again; 2 for a bad configuration.
import { chmod, unlink } from 'node:fs/promises';
import type { Server } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import packageJson from '../../package.json' with { type: 'json' };
import { systemClock } from '../base/clock.ts';
import { BellowsError, messageOf } from '../base/errors.ts';
import { controllerConfig, type ControllerConfig } from '../controller/config.ts';
import { startController } from '../controller/start.ts';
import { layoutOf } from '../sys/layout.ts';
import { createLogger } from '../sys/log.ts';
import { raiseOwnPriority } from '../sys/priority.ts';
import { removeUnfinished } from './archive/admit.ts';
import { createApiServer } from './server.ts';

/** What calls under way are given to end; long polls and event streams are cut then, and their readers come back. */
const httpGraceMs = 2_000;

process.title = 'bellows-controller';
const log = createLogger('controller');
if (!raiseOwnPriority('changes'))
  log.debug('no right to run before others; `bellows doctor` says what that means');

process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, error instanceof BellowsError ? 'can not go on' : 'uncaught');
  process.exit(1);
});
process.on('unhandledRejection', (reason) => {
  log.fatal({ err: reason }, 'unhandled rejection');
  process.exit(1);
});

function readConfig(): ControllerConfig {
  try {
    return controllerConfig.parse(JSON.parse(process.env['BELLOWS_CONFIG'] ?? ''));
  } catch (thrown) {
    log.fatal(
      { why: messageOf(thrown) },
      'BELLOWS_CONFIG is not a valid configuration; `bellows up` sets it',
    );
    process.exit(2);
  }
}

async function listen(server: Server, socketPath: string): Promise<void> {
  // A controller that was killed left its socket's name behind; nobody else listens there in this data directory.
  await unlink(socketPath).catch(() => undefined);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  await chmod(socketPath, 0o600);
}

async function closeHttp(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  await Promise.race([closed, pause(httpGraceMs, undefined, { ref: false })]);
  server.closeAllConnections();
  await closed;
}

/** Until there is something to stop, stopping is leaving. */
let stop = async (): Promise<void> => undefined;
let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (stopping) return;
    stopping = true;
    void stop().then(() => {
      log.info('stopped');
      process.exit(0);
    });
  });
}

const config = readConfig();
await removeUnfinished(layoutOf(config.dataDirectory));
const { controlPlane, adminToken, layout, close } = await startController(config, log);
const server = await createApiServer({
  control: controlPlane,
  layout,
  adminToken,
  version: packageJson.version,
  clock: systemClock,
  log,
});
await listen(server, layout.controllerHttpSocket);
stop = async () => {
  await closeHttp(server);
  await close();
};
log.info('ready');
