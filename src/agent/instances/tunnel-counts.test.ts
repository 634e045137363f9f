import { expect, test } from 'vitest';
import { TunnelCounts } from './tunnel-counts.ts';

test('what a gateway carried when it died was closed by the server; what the next carries is added', () => {
  const tunnels = new TunnelCounts();
  tunnels.told(1, { open: 3, closedByClient: 2, closedByServer: 1 }, []);
  expect(tunnels.counts).toEqual({ open: 3, closedByClient: 2, closedByServer: 1 });
  tunnels.told(2, { open: 0, closedByClient: 0, closedByServer: 0 }, []);
  expect(tunnels.counts).toEqual({ open: 0, closedByClient: 2, closedByServer: 4 });
  tunnels.told(2, { open: 5, closedByClient: 1, closedByServer: 0 }, []);
  expect(tunnels.counts).toEqual({ open: 5, closedByClient: 3, closedByServer: 4 });
});

test('a gateway that was replaced goes on beside the next, until that says that it is gone', () => {
  const tunnels = new TunnelCounts();
  tunnels.told(1, { open: 3, closedByClient: 0, closedByServer: 0 }, []);
  tunnels.told(2, { open: 1, closedByClient: 0, closedByServer: 0 }, [1]);
  expect(tunnels.counts).toEqual({ open: 4, closedByClient: 0, closedByServer: 0 });
  // It knows nothing of the next one.
  tunnels.told(1, { open: 2, closedByClient: 1, closedByServer: 0 }, null);
  expect(tunnels.counts).toEqual({ open: 3, closedByClient: 1, closedByServer: 0 });
  tunnels.told(2, { open: 1, closedByClient: 0, closedByServer: 0 }, []);
  expect(tunnels.counts).toEqual({ open: 1, closedByClient: 1, closedByServer: 2 });
});
