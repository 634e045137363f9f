// Calls and events between controller, gateway and agent: the shape of a protocol and its messages on frames.
// A protocol is data: for each method a schema of its parameters and of its result, for each event a schema.
// Both ends of a link may call and emit. Owns message shapes; src/sys/rpc-link.ts owns sockets and time-outs.
import { z } from 'zod';

/** Frame types on control links. The frame's id pairs a response with its request; events have id 0. */
export const rpcFrame = { request: 1, response: 2, failure: 3, event: 4 } as const;

export interface Method<P extends z.ZodType = z.ZodType, R extends z.ZodType = z.ZodType> {
  readonly params: P;
  readonly result: R;
}

export interface Protocol {
  readonly methods: Readonly<Record<string, Method>>;
  readonly events: Readonly<Record<string, z.ZodType>>;
}

export function method<P extends z.ZodType, R extends z.ZodType>(params: P, result: R): Method<P, R> {
  return { params, result };
}

export type Params<M extends Method> = z.infer<M['params']>;
export type ResultOf<M extends Method> = z.infer<M['result']>;

/** What a peer that serves a protocol's methods must provide. */
export type Handlers<P extends Protocol> = {
  readonly [M in keyof P['methods']]: (params: Params<P['methods'][M]>) => Promise<ResultOf<P['methods'][M]>>;
};

/** What a peer that calls a protocol's methods is given. */
export interface Caller<P extends Protocol> {
  call<M extends keyof P['methods'] & string>(
    name: M,
    params: Params<P['methods'][M]>,
    options?: { readonly timeoutMs?: number },
  ): Promise<ResultOf<P['methods'][M]>>;
}

/** An event's name and payload. */
export type EventOf<P extends Protocol> = {
  [E in keyof P['events'] & string]: { readonly event: E; readonly data: z.infer<P['events'][E]> };
}[keyof P['events'] & string];

/** The JSON of a request frame. */
export const requestMessage = z.object({ method: z.string(), params: z.unknown() });
/** The JSON of an event frame. */
export const eventMessage = z.object({ event: z.string(), data: z.unknown() });
/** The JSON of a failure frame: an ErrorRecord. */
export const failureMessage = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
});

/** The result of a method that only succeeds or fails. */
export const nothing = z.object({});
