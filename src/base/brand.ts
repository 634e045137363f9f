// Nominal typing for values whose unit or identity must not be mixed up. Types only, no run-time cost.

declare const brand: unique symbol;

/** A `T` that carries the name of its unit or identity in its type. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
