// Measured amounts for a person's eye: what the API writes exactly (`59244544`) is rounded here (`56.5 MiB`).
import { BellowsError } from '../base/errors.ts';
import { humanBytes, parseBytes } from '../base/quantity.ts';

/** Text that is no quantity is shown as it is: a newer Bellows may write what this one can not read. */
export function shownBytes(quantity: string): string {
  const negative = quantity.startsWith('-');
  try {
    const text = humanBytes(parseBytes(negative ? quantity.slice(1) : quantity));
    return negative ? `-${text}` : text;
  } catch (thrown) {
    if (thrown instanceof BellowsError) return quantity;
    throw thrown;
  }
}
