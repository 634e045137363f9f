// An app for tests of the agent, and what those ask of it and of the agent.
import { request } from 'node:http';
import type { WorkloadKey } from '../../src/base/ids.ts';
import { eventually, type TestUnit } from './agent-process.ts';

/** An app that ends when it is asked to. */
export const chat = `
  const http = require('node:http');
  const server = http.createServer((request, response) => { console.log('asked ' + request.url); response.end('pid ' + process.pid + ' port ' + process.env.PORT); });
  process.on('SIGTERM', () => { console.log('told to end'); server.close(() => process.exit(0)); });
  server.listen(process.env.PORT);`;

export function get(target: { socketPath: string } | { port: number }, path = '/'): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request(
      { ...target, host: '127.0.0.1', path, agent: false, headers: { connection: 'close' } },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve(text));
      },
    );
    call.on('error', reject);
    call.end();
  });
}

export async function linesOf(unit: TestUnit, workload: WorkloadKey): Promise<string[]> {
  const { entries } = await unit.caller.call('readLogs', { workload, cursor: null, limit: 1000, waitMs: 0 });
  return entries.map((entry) => entry.line);
}

/** The pool has so many processes. */
export const isReady = (unit: TestUnit, size: number): Promise<void> =>
  eventually(async () => (await unit.caller.call('list', {})).poolReady === size);
