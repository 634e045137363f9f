// A peer of the gateway bench: miniflare with a worker as trivial as the function that Bellows runs. `worker.mjs PORT`
import { Miniflare } from 'miniflare';

const miniflare = new Miniflare({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  modules: true,
  script: 'export default { fetch: () => Response.json({ ok: true }) };',
  compatibilityDate: '2026-07-01',
  // It would ask its maker's server where on earth it is.
  cf: false,
});
await miniflare.ready;
process.once('SIGTERM', () => void miniflare.dispose().finally(() => process.exit()));
