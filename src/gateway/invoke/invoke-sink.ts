// The answer to Lambda's Invoke: the function's value, or its error, in one piece.
import { latestVersion } from '../../model/lambda.ts';
import { outcome, type Result } from '../../protocol/instance.ts';
import { paced } from '../bandwidth/line.ts';
import { payloadLimits } from '../config.ts';
import { countCall, refuseCall, type CallExchange } from './call-sink.ts';
import type { Failure, Sink } from './invocation.ts';
import { responseTooLargePayload } from './payloads.ts';

export class InvokeSink implements Sink {
  readonly #exchange: CallExchange;

  constructor(exchange: CallExchange) {
    this.#exchange = exchange;
  }

  onResult({ outcome: how, logTail, body }: Result): void {
    const { responseBytes } = payloadLimits;
    if (body.length > responseBytes) this.#answer(true, responseTooLargePayload(responseBytes), logTail);
    else this.#answer(how !== outcome.ok, body, logTail);
  }

  onFailure(failure: Failure): void {
    if (failure.kind !== 'functionError') refuseCall(this.#exchange, failure);
    else if (failure.logTail === undefined) this.#answer(true, failure.payload, undefined);
    else void failure.logTail.then((tail) => this.#answer(true, failure.payload, tail));
  }

  /** AWS marks every failure in a function `Unhandled` since it left the first runtimes behind. */
  #answer(failed: boolean, payload: string | Buffer, logTail: Buffer | undefined): void {
    const { response, requestId, line } = this.#exchange;
    if (failed) countCall(this.#exchange, 'errors');
    const bytes = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
    const headers = [
      'Content-Type',
      'application/json',
      'Content-Length',
      String(bytes),
      'x-amzn-RequestId',
      requestId,
      'X-Amz-Executed-Version',
      latestVersion,
    ];
    if (failed) headers.push('X-Amz-Function-Error', 'Unhandled');
    if (logTail !== undefined && logTail.length > 0)
      headers.push('X-Amz-Log-Result', logTail.toString('base64'));
    paced(line, 'out', bytes, () => {
      if (response.destroyed) return;
      response.writeHead(200, headers);
      // One string goes out with the head in one write; large ones are better left as they are.
      response.end(
        typeof payload === 'string' || payload.length > 16_384 ? payload : payload.toString('utf8'),
      );
    });
  }
}
