// Reads whole request bodies into memory: up to a limit, within the memory that their tenant may have for them, and no
// slower than a floor. Owns the readings that are under way; one clock for all of them, so a request costs no timer. Large
// bodies are streamed (apps/) and no business of this; what fits is body-memory.ts.
//
//   reading ──all there──▶ whole               the answer is over, or the connection: what it held is given back
//      ├──the client left──▶ aborted
//      ├──below the floor──▶ tooSlow
//      └──too large, or no room──▶ discarding ──end, or enough──▶ tooLarge, noRoom
import { BellowsError } from '../base/errors.ts';
import type { TenantId } from '../base/ids.ts';
import type { ClientRequest, ClientResponse } from './client-exchange.ts';
import { bodyLimits, type BodyFloor } from './config.ts';
import { BodyMemory, type TenantBodies } from './limits/body-memory.ts';

export type Body =
  | { readonly kind: 'whole'; readonly bytes: Buffer; readonly belongs: Belongs }
  /** It is, or says it is, longer than the limit. */
  | { readonly kind: 'tooLarge' }
  /** Its tenant's bodies hold as much as they may. */
  | { readonly kind: 'noRoom'; readonly error: BellowsError }
  | { readonly kind: 'tooSlow'; readonly error: BellowsError }
  /** The client left before it was all there. */
  | { readonly kind: 'aborted' };

/**
 * It is proven to be its tenant's, and is from now on held in its name. Returns why not, when its bodies hold as much as they
 * may; without an effect for one that was known to be.
 */
export type Belongs = () => BellowsError | undefined;

/** In whose name memory is taken. */
export interface BodyOwner {
  readonly tenant: TenantId;
  /** Whether it is the tenant's, or only says so. */
  readonly proven: boolean;
}

/** A request whose body is to be read, and what tells when its memory is free again. */
export interface Reading {
  readonly request: ClientRequest;
  /** Its end is the end of what the body holds. */
  readonly response: ClientResponse;
  /** The client sends its body when it is asked for it. */
  readonly expectsContinue: boolean;
}

/** Of a body that takes no memory, or is known to be who sends it. */
export const belongs: Belongs = () => undefined;
const empty: Body = { kind: 'whole', bytes: Buffer.alloc(0), belongs };

/** Whether a body follows the head at all (RFC 9112, 6.3): only then is it worth waiting for one. */
export function hasBody(request: ClientRequest): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

export class BodyReader {
  readonly memory: BodyMemory;
  readonly #floor: BodyFloor;
  readonly #nowMs: () => number;
  readonly #readings = new Set<Gathering>();
  #sweptAtMs: number;

  constructor(memoryBytes: number, floor: BodyFloor, nowMs: () => number) {
    this.memory = new BodyMemory(memoryBytes);
    this.#floor = floor;
    this.#nowMs = nowMs;
    this.#sweptAtMs = nowMs();
  }

  /**
   * Calls back once, at once when there is no body. Who waits to be asked for it is asked only when it can be taken.
   * @param owner who answers for the memory
   */
  read(reading: Reading, limitBytes: number, owner: BodyOwner, done: (body: Body) => void): void {
    const { request, response, expectsContinue } = reading;
    if (!hasBody(request)) {
      done(empty);
      return;
    }
    const own = this.memory.of(owner.tenant);
    const account = owner.proven ? own : this.memory.unprovenOf(owner.tenant);
    const lengthBytes = Number(request.headers['content-length'] ?? 0);
    const full = [account, own].find((each) => !each.fits(lengthBytes));
    const refusal: Body | undefined =
      lengthBytes > limitBytes ? { kind: 'tooLarge' } : full && { kind: 'noRoom', error: full.refusal() };
    if (expectsContinue) {
      if (refusal !== undefined) {
        done(refusal);
        return;
      }
      response.writeContinue();
    }
    const gathering = new Gathering(reading, {
      account,
      own,
      // Only to that length is its memory made larger.
      mostBytes: lengthBytes === 0 ? limitBytes : lengthBytes,
      patienceMs: this.#floor.graceMs,
      done: (body) => {
        this.#readings.delete(gathering);
        done(body);
      },
    });
    this.#readings.add(gathering);
    gathering.begin(refusal);
  }

  /** Ends what comes too slowly. To be called now and then. */
  sweep(): void {
    const nowMs = this.#nowMs();
    // A process that was stopped, or had no processor, could not read: its clients are not to blame.
    const passedMs = Math.min(nowMs - this.#sweptAtMs, bodyLimits.longestStepMs);
    this.#sweptAtMs = nowMs;
    for (const gathering of this.#readings) gathering.pass(passedMs, this.#floor);
  }
}

interface Terms {
  /** Where it is counted while it comes. */
  readonly account: TenantBodies;
  /** Where it is counted once it is proven whose it is. */
  readonly own: TenantBodies;
  /** More than this is too large. */
  readonly mostBytes: number;
  readonly patienceMs: number;
  readonly done: (body: Body) => void;
}

class Gathering {
  readonly #reading: Reading;
  readonly #terms: Terms;
  #account: TenantBodies;
  /** What came is at its beginning: the first chunk itself while that is all, so one that came whole is not copied. */
  #buffer: Buffer = nothing;
  #bytes = 0;
  #heldBytes = 0;
  /** What is answered when enough was discarded; undefined while it reads. */
  #refusal: Body | undefined;
  #discardedBytes = 0;
  #finished = false;
  /** How long it may still be silent. */
  #patienceMs: number;
  /** As many as the last look at its pace saw. */
  #seenBytes = 0;

  constructor(reading: Reading, terms: Terms) {
    this.#reading = reading;
    this.#terms = terms;
    this.#account = terms.account;
    this.#patienceMs = terms.patienceMs;
  }

  /** @param refusal known from the head: its sender reads the answer only after it has sent everything, as a rule */
  begin(refusal: Body | undefined): void {
    this.#refusal = refusal;
    const { request, response } = this.#reading;
    response.once('close', () => this.#letGo());
    // A flag rather than taking three listeners off again for every request.
    request
      .on('data', (chunk: Buffer) => {
        if (this.#finished) return;
        this.#bytes += chunk.length;
        if (this.#refusal === undefined) this.#gather(chunk);
        else this.#discard(chunk, this.#refusal);
      })
      .on('end', () =>
        this.#finish(this.#refusal ?? { kind: 'whole', bytes: this.#whole(), belongs: this.#belongs }),
      )
      .on('close', () => this.#finish({ kind: 'aborted' }));
  }

  /** So much time has passed. Who keeps above the floor never loses patience's whole; who stops has what is left of it. */
  pass(passedMs: number, { graceMs, bytesPerSecond }: BodyFloor): void {
    const earnedMs = ((this.#bytes - this.#seenBytes) * 1000) / bytesPerSecond;
    this.#seenBytes = this.#bytes;
    this.#patienceMs = Math.min(graceMs, this.#patienceMs + earnedMs) - passedMs;
    if (this.#patienceMs < 0)
      this.#finish(this.#refusal ?? { kind: 'tooSlow', error: tooSlow(bytesPerSecond) });
  }

  #gather(chunk: Buffer): void {
    const { mostBytes } = this.#terms;
    if (this.#bytes > mostBytes) this.#refuse({ kind: 'tooLarge' });
    else if (this.#buffer === nothing) {
      if (!this.#hold(chunk.length)) return;
      this.#buffer = chunk;
    } else {
      // Into one buffer that doubles: thousands of small chunks would each hold more than their bytes.
      if (this.#bytes > this.#buffer.length) {
        const wantedBytes = Math.max(this.#bytes, this.#buffer.length * 2, bodyLimits.firstBytes);
        const sizeBytes = Math.min(wantedBytes, mostBytes);
        if (!this.#hold(sizeBytes - this.#heldBytes)) return;
        const larger = Buffer.allocUnsafeSlow(sizeBytes);
        this.#buffer.copy(larger);
        this.#buffer = larger;
      }
      chunk.copy(this.#buffer, this.#bytes - chunk.length);
    }
  }

  #whole(): Buffer {
    return this.#bytes === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#bytes);
  }

  readonly #belongs: Belongs = () => {
    const { own } = this.#terms;
    if (this.#account === own) return undefined;
    if (!own.takeOver(this.#heldBytes, this.#account)) return own.refusal();
    this.#account = own;
    return undefined;
  };

  #hold(bytes: number): boolean {
    if (!this.#account.take(bytes)) {
      this.#refuse({ kind: 'noRoom', error: this.#account.refusal() });
      return false;
    }
    this.#heldBytes += bytes;
    return true;
  }

  /** What it held is free already, and the rest is read into nothing. */
  #refuse(refusal: Body): void {
    this.#refusal = refusal;
    this.#buffer = nothing;
    this.#letGo();
  }

  #letGo(): void {
    this.#account.giveBack(this.#heldBytes);
    this.#heldBytes = 0;
  }

  #discard(chunk: Buffer, refusal: Body): void {
    this.#discardedBytes += chunk.length;
    if (this.#discardedBytes > bodyLimits.discardedBytes) this.#finish(refusal);
  }

  #finish(body: Body): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#buffer = nothing;
    this.#terms.done(body);
  }
}

const nothing = Buffer.alloc(0);

function tooSlow(bytesPerSecond: number): BellowsError {
  return new BellowsError(
    'TooSlow',
    `The request's body came slower than ${bytesPerSecond} bytes a second, or stopped.`,
    'Send it again, over a connection that is faster.',
  );
}
