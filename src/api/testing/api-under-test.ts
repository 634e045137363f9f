// The API's server on a free loopback port, over the fake control plane. Tests only.
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { systemClock } from '../../base/clock.ts';
import type { TenantId } from '../../base/ids.ts';
import { layoutOf, type Layout } from '../../sys/layout.ts';
import { createApiServer } from '../server.ts';
import { FakeControlPlane } from './fake-control-plane.ts';

export const testToken = 'a-token-of-at-least-twenty-letters';

/** As fetch takes it, with its headers as a plain object. */
export type Call = Omit<RequestInit, 'headers'> & { readonly headers?: Readonly<Record<string, string>> };

export interface ApiUnderTest extends AsyncDisposable {
  readonly control: FakeControlPlane;
  readonly layout: Layout;
  readonly url: string;
  /** What the server logged as a defect; a test of bad input expects none. */
  readonly defects: string[];
  /** With the admin's token, unless `headers` has another Authorization. */
  fetch(path: string, init?: Call): Promise<Response>;
}

export async function startApi(): Promise<ApiUnderTest> {
  const control = new FakeControlPlane();
  await control.putTenant('acme' as TenantId, {});
  const layout = layoutOf(await mkdtemp(join(tmpdir(), 'bellows-api-')));
  const defects: string[] = [];
  const log = pino({ level: 'error' }, { write: (line: string) => void defects.push(line) });
  const server = await createApiServer({
    control,
    layout,
    adminToken: testToken,
    version: '1.2.3',
    clock: systemClock,
    log,
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    control,
    layout,
    url,
    defects,
    fetch: (path, init = {}) =>
      fetch(url + path, { ...init, headers: { authorization: `Bearer ${testToken}`, ...init.headers } }),
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      await rm(layout.root, { recursive: true, force: true });
    },
  };
}
