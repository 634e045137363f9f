// How an input that was refused is named in a message: short, on one line, whatever it is. Pure.

/** Strings as JSON, cut at `maxLength`; of an object only that it is one: its own `toString` is the caller's. */
export function showInput(input: unknown, maxLength: number): string {
  switch (typeof input) {
    case 'string':
      return JSON.stringify(input.slice(0, maxLength));
    case 'number':
    case 'bigint':
    case 'boolean':
    case 'undefined':
      return String(input).slice(0, maxLength);
    case 'object':
      return input === null ? 'null' : Array.isArray(input) ? 'an array' : 'an object';
    case 'function':
    case 'symbol':
      return `a ${typeof input}`;
  }
}
