// Structured logs of Bellows' own processes: JSON lines on stderr through pino. Owns the format, not where stderr goes.
import { pino, type Logger } from 'pino';

export type { Logger };

/** `BELLOWS_LOG`: trace, debug, info (default), warn, error or silent. */
export function createLogger(
  process: 'supervisor' | 'controller' | 'gateway' | 'agent',
  level = globalThis.process.env['BELLOWS_LOG'] ?? 'info',
): Logger {
  return pino(
    { level, base: { process, pid: globalThis.process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
}
