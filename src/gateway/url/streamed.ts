// The answer of a streaming handler at a function's URL, once its head is known: sent as it comes, or gathered and sent whole, as
// the URL's invoke mode says. Owns the body. Does not own the head's meaning (response.ts), nor refusals (handle.ts).
import { paced, type Line } from '../bandwidth/line.ts';
import { Outflow } from '../bandwidth/outflow.ts';
import { payloadLimits } from '../config.ts';
import type { Answer } from '../exchange.ts';

/** What is known before the body; names and values in turn. */
export interface StreamedHead {
  readonly status: number;
  readonly headers: readonly string[];
}

/** `tooLarge`: it has more than may be answered, and nothing more of it is wanted. */
export type Taken = 'goOn' | 'holdBack' | 'tooLarge';

export interface StreamedAnswer {
  /** @param resume called after `holdBack`, when more may come */
  take(chunk: Buffer, resume: () => void): Taken;
  /** All of it was taken. */
  end(): void;
}

/** InvokeMode RESPONSE_STREAM: the head goes out at once, and every chunk. */
export class LiveAnswer implements StreamedAnswer {
  readonly #response: Answer;
  readonly #outflow: Outflow;

  constructor(response: Answer, line: Line | undefined, head: StreamedHead) {
    this.#response = response;
    this.#outflow = new Outflow(response, line, payloadLimits.streamedResponseBytes);
    if (response.destroyed) return;
    response.writeHead(head.status, [...head.headers]);
    response.flushHeaders();
  }

  take(chunk: Buffer, resume: () => void): Taken {
    const admitted = this.#outflow.admit(chunk.length);
    const goesOn = admitted === 0 || this.#outflow.send(chunk.subarray(0, admitted), resume);
    if (admitted < chunk.length) return 'tooLarge';
    return goesOn ? 'goOn' : 'holdBack';
  }

  end(): void {
    this.#response.end();
  }
}

/** InvokeMode BUFFERED: sent when all of it is there, so that a failure on the way still has a status of its own. */
export class GatheredAnswer implements StreamedAnswer {
  readonly #response: Answer;
  readonly #line: Line | undefined;
  readonly #head: StreamedHead;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(response: Answer, line: Line | undefined, head: StreamedHead) {
    this.#response = response;
    this.#line = line;
    this.#head = head;
  }

  take(chunk: Buffer): Taken {
    this.#bytes += chunk.length;
    if (this.#bytes > payloadLimits.responseBytes) return 'tooLarge';
    // A copy: a small chunk would keep all that was read with it.
    this.#chunks.push(Buffer.from(chunk));
    return 'goOn';
  }

  end(): void {
    const body = Buffer.concat(this.#chunks, this.#bytes);
    const { status, headers } = this.#head;
    paced(this.#line, 'out', body.length, () => {
      if (this.#response.destroyed) return;
      const hasBody = status !== 204 && status !== 304;
      this.#response.writeHead(status, [
        ...headers,
        ...(hasBody ? ['content-length', String(body.length)] : []),
      ]);
      this.#response.end(hasBody ? body : '');
    });
  }
}
