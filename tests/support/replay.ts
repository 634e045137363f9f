// Lives a simulated minute through on a real Bellows: deploys the functions, calls each when it is to be called, and counts what
// the simulator counts. The functions hold the memory and take the time that were drawn. Owns no comparison.
import { setTimeout as pause } from 'node:timers/promises';
import type { SimulatedFunction } from '../../src/allocator/simulator/azure-day.ts';
import { costs } from '../../src/allocator/simulator/costs.ts';
import type { TimedCall } from '../../src/allocator/simulator/scaled-minute.ts';
import type { Moment, SimulationReport } from '../../src/allocator/simulator/tally.ts';
import { parseBytes } from '../../src/base/quantity.ts';
import { zipOf } from './archives.ts';
import type { Bellows } from './bellows.ts';

export type ReplayReport = Pick<
  SimulationReport,
  'calls' | 'coldStarts' | 'slowCalls' | 'instanceMs' | 'grantedByteMs' | 'usedByteMs' | 'moments'
> & {
  /** What a client waits for beyond a call that finds nobody idle: the median. */
  readonly startMs: number;
  readonly overheadsMs: readonly number[];
  /** Calls that were answered with an error: on a machine that is too busy a start takes longer than it may, or than anybody waits. */
  readonly failures: readonly string[];
};

/** A tenth of a call is work, the rest is waiting for others: more work than that would be about this machine's processors. */
const workShare = 0.1;
const mostWorkMs = 20;
/** Instances live for seconds, and are asked for this often. */
const lookEveryMs = 250;

const code = `
let held = [];
let heldBytes = 0;
let calls = 0;
export const handler = async (event) => {
  const beganMs = performance.now();
  const { durationMs, workMs, holdBytes } = JSON.parse(event.body);
  if (holdBytes > heldBytes) {
    held.push(Buffer.alloc(holdBytes - heldBytes, 1));
    heldBytes = holdBytes;
  }
  while (performance.now() < beganMs + workMs);
  const leftMs = beganMs + durationMs - performance.now();
  if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
  calls += 1;
  return { first: calls === 1, tookMs: performance.now() - beganMs };
};`;

export async function deployAll(bellows: Bellows, functions: readonly SimulatedFunction[]): Promise<void> {
  for (const { index, requestBytes } of functions) {
    const manifest = {
      kind: 'function',
      handler: 'index.handler',
      url: true,
      timeout: 60,
      memory: requestBytes,
    };
    const archive = await zipOf({ 'index.mjs': code, 'bellows.json': JSON.stringify(manifest) });
    const { status, body } = await bellows.v1('PUT', `/workloads/default/f-${index}`, archive);
    if (status >= 300) throw new Error(`f-${index} could not be deployed: ${JSON.stringify(body)}`);
  }
}

export async function replay(
  bellows: Bellows,
  calls: readonly TimedCall[],
  untilMs: number,
): Promise<ReplayReport> {
  const beganMs = performance.now();
  const sinceMs = (): number => performance.now() - beganMs;
  const [answers, watched] = await Promise.all([
    Promise.all(
      calls.map(async (call) => {
        await pause(Math.max(0, call.atMs - sinceMs()));
        return answered(bellows, call);
      }),
    ),
    watchInstances(bellows, sinceMs, untilMs),
  ]);
  const overheads = answers.filter((answer) => typeof answer !== 'string');
  const startMs = median(overheads.filter(({ first }) => first).map(({ overheadMs }) => overheadMs));
  return {
    calls: calls.length,
    startMs,
    slowCalls: overheads.filter(({ overheadMs }) => overheadMs > startMs / 2).length,
    failures: answers.filter((answer) => typeof answer === 'string'),
    overheadsMs: overheads.map(({ overheadMs }) => overheadMs),
    ...watched,
  };
}

interface Answered {
  /** Whether it was the first call of its instance. */
  readonly first: boolean;
  /** What it took beyond what the function itself took. */
  readonly overheadMs: number;
}

/** @returns what it was answered instead where it failed */
async function answered(bellows: Bellows, call: TimedCall): Promise<Answered | string> {
  const { durationMs, needBytes } = call;
  const beganMs = performance.now();
  const answer = await fetch(`${bellows.url}/w/default/f-${call.function}/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      durationMs,
      workMs: Math.min(durationMs * workShare, mostWorkMs),
      holdBytes: Math.max(0, needBytes - costs.leastBytes),
    }),
  });
  const text = await answer.text();
  const tookMs = performance.now() - beganMs;
  if (answer.status !== 200) return `${answer.status} ${text}`;
  const own = JSON.parse(text) as { readonly first: boolean; readonly tookMs: number };
  return { first: own.first, overheadMs: tookMs - own.tookMs };
}

async function watchInstances(
  bellows: Bellows,
  sinceMs: () => number,
  untilMs: number,
): Promise<Pick<ReplayReport, 'coldStarts' | 'instanceMs' | 'grantedByteMs' | 'usedByteMs' | 'moments'>> {
  const ids = new Set<string>();
  const moments: Moment[] = [];
  const sums = { instanceMs: 0, grantedByteMs: 0, usedByteMs: 0 };
  for (let atMs = 0; atMs < untilMs;) {
    await pause(lookEveryMs);
    const all = await bellows.instances();
    const nowMs = sinceMs();
    for (const { id } of all) ids.add(id);
    const grantedBytes = all.reduce((sum, { memory }) => sum + parseBytes(memory.grant), 0);
    const usedBytes = all.reduce((sum, { memory }) => sum + parseBytes(memory.used), 0);
    moments.push({ atMs: nowMs, instances: all.length, grantedBytes, usedBytes });
    const elapsedMs = Math.min(nowMs, untilMs) - atMs;
    sums.instanceMs += all.length * elapsedMs;
    sums.grantedByteMs += grantedBytes * elapsedMs;
    sums.usedByteMs += usedBytes * elapsedMs;
    atMs = nowMs;
  }
  return { coldStarts: ids.size, ...sums, moments };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
