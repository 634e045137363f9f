// Carries a stream into another at the pace of a line, with back-pressure: what `pipe` does, and waiting. Owns one direction of
// one exchange; ends and errors of the streams are their owner's, but for the end of what is carried.
import type { Readable, Writable } from 'node:stream';
import type { Direction, Line } from './line.ts';

export interface Carrying {
  /** Carries nothing more; the source stands still until somebody reads it. */
  stop(): void;
}

/** @param line undefined: as fast as it goes */
export function carry(
  source: Readable,
  sink: Writable,
  line: Line | undefined,
  direction: Direction,
): Carrying {
  if (line === undefined) {
    source.pipe(sink);
    return { stop: () => void source.unpipe(sink) };
  }
  let stopped = false;
  let drained = true;
  let free = true;
  const goOn = (): void => {
    if (!stopped && drained && free) source.resume();
  };
  const onData = (chunk: Buffer): void => {
    if (sink.destroyed) {
      stop();
      return;
    }
    drained = sink.write(chunk);
    line.take(direction, chunk.length);
    free = line.isFree(direction);
    if (drained && free) return;
    source.pause();
    if (free) return;
    line.whenFree(direction, () => {
      free = true;
      goOn();
    });
  };
  const onDrain = (): void => {
    drained = true;
    goOn();
  };
  const onEnd = (): void => void sink.end();
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    source.off('data', onData).off('end', onEnd);
    sink.off('drain', onDrain).off('close', stop);
    source.pause();
  };
  sink.on('drain', onDrain).once('close', stop);
  source.on('data', onData).once('end', onEnd);
  // As `pipe` does: a source that its last reader left paused (links/door.ts) would stand still for ever.
  goOn();
  return { stop };
}
