// The answer to Lambda's InvokeWithResponseStream: the function's answer as it comes, as events of AWS's event stream, and a last
// event that says how it ended. A handler that does not stream is answered the same way, with all of its value at once.
//
//   waiting ──first bytes, or the end──▶ streaming ──InvokeComplete──▶ ended          refused before that: an error of the API
//      └──────────── the client leaves, in either state: the instance is told ──────▶ ended
import { latestVersion } from '../../model/lambda.ts';
import { integrationPrelude, outcome, type Result, type StreamPrelude } from '../../protocol/instance.ts';
import {
  eventStreamContentType,
  invokeComplete,
  payloadChunk,
  type InvokeComplete,
} from '../../protocol/lambda/event-stream.ts';
import { paced } from '../bandwidth/line.ts';
import { Outflow } from '../bandwidth/outflow.ts';
import { payloadLimits } from '../config.ts';
import { countCall, refuseCall, type CallExchange } from './call-sink.ts';
import type { Failure, Sink } from './invocation.ts';
import { responseTooLargePayload } from './payloads.ts';

export class StreamSink implements Sink {
  readonly #exchange: CallExchange;
  readonly #abandon: () => void;
  readonly #outflow: Outflow;
  #begun = false;
  #ended = false;

  /** @param abandon to be called when nobody takes the answer any more */
  constructor(exchange: CallExchange, abandon: () => void) {
    const { response, line } = exchange;
    this.#exchange = exchange;
    this.#abandon = abandon;
    this.#outflow = new Outflow(response, line, payloadLimits.streamedResponseBytes);
  }

  /** The client's connection has ended, or the answer has. */
  onClose(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#abandon();
  }

  onStreamStart(prelude: Buffer): void {
    if (this.#ended) return;
    this.#begin();
    this.#exchange.response.flushHeaders();
    // What is no JSON is nonsense, and ends the link that it came over.
    const bytes = integrationPrelude(JSON.parse(prelude.toString('utf8')) as StreamPrelude);
    if (bytes !== '') this.#exchange.response.write(payloadChunk(Buffer.from(bytes)));
  }

  onStreamChunk(chunk: Buffer, resume: () => void): boolean {
    if (this.#ended) return true;
    const admitted = this.#outflow.admit(chunk.length);
    const goesOn = admitted === 0 || this.#outflow.send(payloadChunk(chunk.subarray(0, admitted)), resume);
    if (admitted === chunk.length) return goesOn;
    this.#fail(responseTooLargePayload(payloadLimits.streamedResponseBytes), undefined);
    this.#abandon();
    return true;
  }

  onResult({ outcome: how, logTail, body }: Result): void {
    if (this.#ended) return;
    if (how !== outcome.ok) {
      this.#fail(body.toString('utf8'), logTail);
      return;
    }
    if (this.#begun) {
      this.#complete({}, logTail);
      return;
    }
    const whole = payloadChunk(body);
    const tail = Buffer.from(logTail);
    const { response, line } = this.#exchange;
    paced(line, 'out', whole.length, () => {
      if (this.#ended) return;
      this.#begin();
      response.write(whole);
      this.#complete({}, tail);
    });
  }

  onFailure(failure: Failure): void {
    if (this.#ended) return;
    if (failure.kind !== 'functionError') {
      this.#ended = true;
      refuseCall(this.#exchange, failure);
    } else if (failure.logTail === undefined) this.#fail(failure.payload, undefined);
    else void failure.logTail.then((tail) => this.#fail(failure.payload, tail));
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    const { response, requestId } = this.#exchange;
    response.writeHead(200, [
      'Content-Type',
      eventStreamContentType,
      'x-amzn-RequestId',
      requestId,
      'X-Amz-Executed-Version',
      latestVersion,
    ]);
  }

  /** @param payload Lambda's JSON for it */
  #fail(payload: string, logTail: Buffer | undefined): void {
    if (this.#ended) return;
    countCall(this.#exchange, 'errors');
    this.#complete({ ErrorCode: errorCodeOf(payload), ErrorDetails: payload }, logTail);
  }

  #complete(complete: InvokeComplete, logTail: Buffer | undefined): void {
    this.#ended = true;
    if (this.#exchange.response.destroyed) return;
    this.#begin();
    const log =
      logTail === undefined || logTail.length === 0 ? {} : { LogResult: logTail.toString('base64') };
    this.#exchange.response.end(invokeComplete({ ...complete, ...log }));
  }
}

/** What Lambda itself found goes by its name; what the function threw is `Unhandled`, as in Invoke's header. */
function errorCodeOf(payload: string): string {
  try {
    const { errorType } = JSON.parse(payload) as { errorType?: unknown };
    if (typeof errorType === 'string' && /^(?:Runtime|Function|Sandbox)\.\w{1,100}$/.test(errorType))
      return errorType;
  } catch {
    // Whatever an instance says instead of JSON is an error of its function all the same.
  }
  return 'Unhandled';
}
