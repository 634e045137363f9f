// A route of /v1 as data: from one description come its validation, its documentation and its answers' shape.
// Owns the description's types; serve.ts runs routes, openapi.ts documents them.
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { BellowsError } from '../../base/errors.ts';
import type { ControlPlane } from '../../controller/control-plane.ts';
import type { Layout } from '../../sys/layout.ts';
import type { Answer } from '../http/answer.ts';
import { pathTemplate, type PathTemplate } from '../http/template.ts';
import { parseInput, parseJson } from './invalid.ts';

export interface RouteContext {
  readonly control: ControlPlane;
  readonly layout: Layout;
  readonly request: IncomingMessage;
}

/** How a body's bytes become what the handler is given. */
export interface BodySpec<B> {
  readonly mediaTypes: readonly string[];
  readonly limitBytes: number;
  /** Says more than that the body is too large. */
  readonly tooLarge?: () => BellowsError;
  /** For OpenAPI; null means bytes. */
  readonly schema: z.ZodType | null;
  readonly required: boolean;
  readonly parse: (bytes: Buffer) => B;
}

/** What the handler gives back; `body` fits `answer`, and its status is one of `statuses`. */
export interface Reply<A> {
  readonly status: number;
  readonly body: A;
  readonly headers?: Readonly<Record<string, string>>;
}

interface RouteText {
  readonly operationId: string;
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  /** What each status of a good answer means. All have the same shape. */
  readonly statuses: Readonly<Record<number, string>>;
  /** Whether anybody may call it; otherwise the admin's token is demanded. */
  readonly open?: boolean;
}

export interface RouteSpec<P, Q, B, A> extends RouteText {
  readonly params: z.ZodType<P>;
  readonly query: z.ZodType<Q>;
  readonly body: BodySpec<B>;
  readonly answer: z.ZodType<A>;
  readonly handle: (context: RouteContext, input: { params: P; query: Q; body: B }) => Promise<Reply<A>>;
}

/** Gives something else than JSON: events, a file. */
export interface RawRouteSpec<P, Q> extends RouteText {
  readonly params: z.ZodType<P>;
  readonly query: z.ZodType<Q>;
  readonly mediaType: string;
  readonly handle: (context: RouteContext, input: { params: P; query: Q }) => Promise<Answer>;
}

/** A route whose types have done their work: input is parsed by `run` itself. */
export interface Route extends RouteText {
  readonly template: PathTemplate;
  readonly params: z.ZodType;
  readonly query: z.ZodType;
  readonly body: BodySpec<unknown>;
  /** Null when it is not JSON. */
  readonly answer: z.ZodType | null;
  readonly mediaType: string;
  readonly run: (context: RouteContext, input: RawInput) => Promise<Answer>;
}

export interface RawInput {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export function route<P, Q, B, A>(spec: RouteSpec<P, Q, B, A>): Route {
  return {
    ...spec,
    template: pathTemplate(spec.path),
    mediaType: 'application/json',
    run: async (context, input) => {
      const params = parseInput(spec.params, input.params, 'the path');
      const query = parseInput(spec.query, input.query, 'the query');
      const reply = await spec.handle(context, { params, query, body: spec.body.parse(input.body) });
      return reply.status === 204
        ? { status: 204 }
        : { status: reply.status, json: reply.body, headers: reply.headers ?? {} };
    },
  };
}

export function rawRoute<P, Q>(spec: RawRouteSpec<P, Q>): Route {
  return {
    ...spec,
    template: pathTemplate(spec.path),
    body: noBody,
    answer: null,
    run: (context, input) =>
      spec.handle(context, {
        params: parseInput(spec.params, input.params, 'the path'),
        query: parseInput(spec.query, input.query, 'the query'),
      }),
  };
}

/** What may come where nothing is expected: some clients send `{}`. */
const unusedBodyBytes = 64 * 1024;

export const noBody: BodySpec<null> = {
  mediaTypes: [],
  limitBytes: unusedBodyBytes,
  schema: null,
  required: false,
  parse: () => null,
};

/** The largest document that a call takes; a manifest-sized environment fits. */
const maxJsonBytes = 1024 * 1024;

export function jsonBody<B>(
  schema: z.ZodType<B>,
  options: { readonly required: boolean } = { required: true },
): BodySpec<B> {
  return {
    mediaTypes: ['application/json'],
    limitBytes: maxJsonBytes,
    schema,
    required: options.required,
    parse: (bytes) =>
      parseInput(
        schema,
        bytes.length === 0 && !options.required ? {} : parseJson(bytes, 'The body'),
        'the body',
      ),
  };
}

export function bytesBody(
  spec: Pick<BodySpec<Buffer>, 'mediaTypes' | 'limitBytes' | 'tooLarge'>,
): BodySpec<Buffer> {
  return { ...spec, schema: null, required: true, parse: (bytes) => bytes };
}
