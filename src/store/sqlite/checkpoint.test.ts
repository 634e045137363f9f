import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Checkpoint, checkpointAfterMs, fullDiskPauseMs } from './checkpoint.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const full = Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 });

test('the log is moved once, in a pause after the last write', () => {
  const move = vi.fn();
  const checkpoint = new Checkpoint(move);
  checkpoint.later();
  vi.advanceTimersByTime(checkpointAfterMs - 1);
  checkpoint.later();
  vi.advanceTimersByTime(checkpointAfterMs - 1);
  expect(move).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(move).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(60_000);
  expect(move).toHaveBeenCalledTimes(1);
});

test('a full disk ends nothing: the log is moved when there is room', () => {
  const move = vi.fn(() => {
    throw full;
  });
  const checkpoint = new Checkpoint(move);
  checkpoint.later();
  vi.advanceTimersByTime(checkpointAfterMs);
  vi.advanceTimersByTime(fullDiskPauseMs);
  expect(move).toHaveBeenCalledTimes(2);
  move.mockImplementation(() => undefined as never);
  vi.advanceTimersByTime(fullDiskPauseMs);
  expect(move).toHaveBeenCalledTimes(3);
  vi.advanceTimersByTime(60_000);
  expect(move).toHaveBeenCalledTimes(3);
});

test('any other failure is not kept quiet', () => {
  const checkpoint = new Checkpoint(() => {
    throw new Error('disk I/O error');
  });
  checkpoint.later();
  expect(() => vi.advanceTimersByTime(checkpointAfterMs)).toThrow('disk I/O error');
});

test('nothing is moved once it was stopped', () => {
  const move = vi.fn();
  const checkpoint = new Checkpoint(move);
  checkpoint.later();
  checkpoint.stop();
  vi.advanceTimersByTime(60_000);
  expect(move).not.toHaveBeenCalled();
});
