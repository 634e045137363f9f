// Forwards what is the controller's own (API, dashboard, metrics) to its HTTP socket, and bridges its restart.
import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../base/errors.ts';
import { sendError } from './answer.ts';
import { forward, type Upstream } from './apps/forward.ts';
import { forwardedRequestHeaders } from './apps/headers.ts';
import { appLimits } from './config.ts';
import type { ClientRequest, ClientResponse } from './client-exchange.ts';
import type { Hop } from './hop.ts';
import { originForm } from './router.ts';

export class ControllerProxy {
  readonly #upstream: Upstream;

  constructor(socketPath: string) {
    this.#upstream = { agent: new Agent({ keepAlive: true }), address: { socketPath } };
  }

  async serve(
    request: ClientRequest,
    response: ClientResponse,
    hop: Hop,
    expectsContinue: boolean,
  ): Promise<void> {
    const origin = { hop, host: request.headers.host, prefix: '' };
    const headers = forwardedRequestHeaders(
      request.rawHeaders,
      origin,
      request.headers['transfer-encoding'] !== undefined,
    );
    const what = { url: originForm(request.url ?? '/'), headers, expectsContinue, line: undefined };
    const deadlineMs = performance.now() + appLimits.waitForControllerMs;
    for (;;) {
      const end = await forward(request, response, this.#upstream, what);
      if (end === 'answered' || end === 'clientGone') return;
      if (end === 'failed') {
        sendError(
          response,
          new BellowsError(
            'Unavailable',
            'The controller ended before it answered; whether it did what was asked is not known.',
            'Look at what is there, then try again.',
          ),
          1,
        );
        return;
      }
      if (performance.now() >= deadlineMs) {
        sendError(
          response,
          new BellowsError(
            'Unavailable',
            'The controller is away. What runs goes on being served.',
            'Try again in a moment; `bellows doctor` tells what is wrong if it stays away.',
          ),
          1,
        );
        return;
      }
      await sleep(appLimits.retryPauseMs);
      if (response.destroyed) return;
    }
  }

  close(): void {
    this.#upstream.agent.destroy();
  }
}
