// Talks to a running Bellows over its one port. Owns requests, and turning every way to fail into one error.
// What an answer must hold is given by each caller's schema: something else may listen on that port.
import { Readable } from 'node:stream';
import { z } from 'zod';
import { exitCode } from './exit-code.ts';
import { CommandError } from './failure.ts';
import type { Installation } from './installation.ts';

const errorAnswer = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
});

export interface ApiRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  /** With the query, from `/v1` on. */
  readonly path: string;
  readonly json?: unknown;
  readonly bytes?: { readonly body: Uint8Array<ArrayBuffer>; readonly mediaType: string };
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses besides 2xx whose answers are results, not errors. */
  readonly expected?: readonly number[];
}

export class Client {
  readonly url: string;
  readonly #installation: Installation;
  readonly #signal: AbortSignal;

  constructor(installation: Installation, signal: AbortSignal) {
    this.#installation = installation;
    this.#signal = signal;
    this.url = installation.url();
  }

  /** @throws CommandError */
  async call<T>(request: ApiRequest, schema: z.ZodType<T>): Promise<T> {
    const response = await this.#send(request);
    const text = await this.#read(response);
    const value = parseJson(text);
    if (!response.ok && request.expected?.includes(response.status) !== true)
      throw refusal(this.url, response.status, value);
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    // An expected status may still carry an error instead of a result.
    if (!response.ok) throw refusal(this.url, response.status, value);
    throw this.#stranger();
  }

  /** The body's bytes as they come. @throws CommandError */
  async stream(request: ApiRequest): Promise<AsyncIterable<Uint8Array>> {
    const response = await this.#send(request);
    if (!response.ok) throw refusal(this.url, response.status, parseJson(await this.#read(response)));
    if (response.body === null) throw this.#stranger();
    return Readable.fromWeb(response.body);
  }

  /** Without our token: for calls that are signed, and for what anybody may read. @throws CommandError when nothing answers */
  async fetch(path: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(`${this.url}${path}`, { signal: this.#signal, ...init, redirect: 'error' });
    } catch (thrown) {
      throw this.#unreachable(thrown);
    }
  }

  async #send({ method, path, json, bytes, headers }: ApiRequest): Promise<Response> {
    const body = bytes?.body ?? (json === undefined ? undefined : JSON.stringify(json));
    return this.fetch(path, {
      method,
      headers: {
        authorization: `Bearer ${this.#installation.token()}`,
        accept: 'application/json, text/event-stream',
        ...(body === undefined ? {} : { 'content-type': bytes?.mediaType ?? 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
  }

  async #read(response: Response): Promise<string> {
    try {
      return await response.text();
    } catch (thrown) {
      throw this.#unreachable(thrown);
    }
  }

  #unreachable(thrown: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    const cause = thrown instanceof Error ? thrown.cause : undefined;
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'the connection broke';
    return new CommandError(
      exitCode.unreachable,
      `Bellows can not be reached at ${this.url} (${code}).`,
      'Start it with `bellows up`, or say where it is with --url URL or --data-dir DIR.',
    );
  }

  #stranger(): CommandError {
    return new CommandError(
      exitCode.unreachable,
      `What answers at ${this.url} does not answer as Bellows does.`,
      'Is another program on this port? Say where Bellows is with --url URL, or use the same version of the command.',
    );
  }
}

function parseJson(text: string): unknown {
  if (text === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(url: string, status: number, value: unknown): CommandError {
  const parsed = errorAnswer.safeParse(value);
  if (!parsed.success) {
    return new CommandError(
      exitCode.failed,
      `${url} answered with status ${status}.`,
      status === 404
        ? 'Is it a Bellows? Another program may listen there.'
        : 'Try again; `bellows doctor` looks for causes.',
    );
  }
  const { code, message, hint } = parsed.data.error;
  const solve =
    code === 'Unauthorized'
      ? 'Give the token of this Bellows: --token TOKEN, or --data-dir DIR for its credentials file.'
      : hint;
  return new CommandError(exitCode.failed, message, solve, code);
}
