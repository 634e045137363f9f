// Orders come in as JSON, are checked, totalled by customer and product, and go out as JSON: what most functions do.
import { createHash } from 'node:crypto';
import * as z from 'zod';

const orders = z.array(
  z.object({
    id: z.string(),
    customer: z.object({ id: z.number(), name: z.string(), city: z.string() }),
    lines: z.array(z.object({ product: z.string(), quantity: z.number(), cents: z.number() })),
  }),
);

/** Some 3 MB of text. */
function received(seed) {
  const order = (n) => ({
    id: `order-${seed}-${n}`,
    customer: { id: n % 500, name: `Customer ${n % 500} of the list`, city: `City ${n % 40}` },
    lines: Array.from({ length: 6 }, (_, line) => ({
      product: `product-${(n * 7 + line * 13) % 900}`,
      quantity: 1 + ((n + line) % 5),
      cents: 100 + ((n * 31 + line) % 9_000),
    })),
  });
  return JSON.stringify(Array.from({ length: 6_000 }, (_, n) => order(n)));
}

export const work = async (seed) => {
  const checked = orders.parse(JSON.parse(received(seed)));
  const customers = new Map();
  for (const { customer, lines } of checked) {
    const cents = lines.reduce((sum, line) => sum + line.quantity * line.cents, 0);
    const known = customers.get(customer.id) ?? { ...customer, cents: 0, orders: 0 };
    customers.set(customer.id, { ...known, cents: known.cents + cents, orders: known.orders + 1 });
  }
  const answer = JSON.stringify([...customers.values()].sort((a, b) => b.cents - a.cents));
  return createHash('sha256').update(answer).digest('hex');
};
