// A function with held connections: it answers what it is sent, and on the route `who-am-i` the connection's id.
import { tarGzOf } from './archives.ts';

/** Its archive. */
export function talkingFunction(): Promise<Buffer> {
  return tarGzOf({
    'index.mjs': `export const handler = async ({ body, requestContext: { routeKey, connectionId } }) =>
      ({ statusCode: 200, body: routeKey === 'who-am-i' ? connectionId : body });`,
    'bellows.json': JSON.stringify({
      kind: 'function',
      handler: 'index.handler',
      websocket: { routes: ['$default', 'who-am-i'] },
    }),
  });
}
