// Structured logs of Bellows' own processes: JSON lines on stderr through pino. Owns the format, not where stderr goes.
import { pino, type Logger } from 'pino';

export type { Logger };

/** Lines that wait for room on the disk; more are lost. */
const maxUnwrittenBytes = 256 * 1024;

/** `BELLOWS_LOG`: trace, debug, info (default), warn, error or silent. */
export function createLogger(
  process: 'supervisor' | 'controller' | 'gateway' | 'agent' | 'units',
  level = globalThis.process.env['BELLOWS_LOG'] ?? 'info',
): Logger {
  const destination = pino.destination({ fd: 2, sync: true, maxLength: maxUnwrittenBytes });
  // A full disk: unwritten lines are tried again with the next one, and must not end what serves.
  destination.on('error', () => undefined);
  return pino(
    { level, base: { process, pid: globalThis.process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    destination,
  );
}
