import { expect, test } from 'vitest';
import { TunnelCounts } from './tunnel-counts.ts';

test('what a gateway carried when it died was closed by the server; what the next carries is added', () => {
  const tunnels = new TunnelCounts();
  tunnels.told(1, { open: 3, closedByClient: 2, closedByServer: 1 });
  expect(tunnels.counts).toEqual({ open: 3, closedByClient: 2, closedByServer: 1 });
  tunnels.told(2, { open: 0, closedByClient: 0, closedByServer: 0 });
  expect(tunnels.counts).toEqual({ open: 0, closedByClient: 2, closedByServer: 4 });
  tunnels.told(2, { open: 5, closedByClient: 1, closedByServer: 0 });
  expect(tunnels.counts).toEqual({ open: 5, closedByClient: 3, closedByServer: 4 });
});
