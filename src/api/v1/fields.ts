// Schemas of what callers send: names, quantities, flags. Each reads a caller's notation into the model's own types.
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';
import { parseTenantId, parseWorkloadName } from '../../base/ids.ts';
import { formatResource, parseResource, type ResourceKind, type Resources } from '../../model/resources.ts';
import { maxInstanceMemory, maxInstanceStorage, minInstanceMemory } from '../../model/workload.ts';
import { parsedBy } from './invalid.ts';

export const tenantField = z
  .string()
  .transform(parsedBy(parseTenantId))
  .meta({ description: "A tenant's name: lower-case letters, digits and hyphens, 1 to 40." });

export const workloadNameField = z
  .string()
  .transform(parsedBy(parseWorkloadName))
  .meta({ description: "A workload's name: letters, digits, hyphens and underscores, 1 to 64." });

const notation: Readonly<Record<ResourceKind, string>> = {
  memory: '"128MiB", "1GiB", or bytes as a number.',
  cpu: 'CPUs as a string like "0.5", millicores like "500m" or as a number.',
  storage: '"512MiB", or bytes as a number.',
  bandwidth: '"10MB/s", or bytes per second as a number.',
};

export function quantityField<K extends ResourceKind>(kind: K): z.ZodType<Resources[K], string | number> {
  return z
    .union([z.string(), z.number()], { error: `expected a quantity: ${notation[kind]}` })
    .transform(parsedBy((input) => parseResource(kind, input)))
    .meta({ description: notation[kind] });
}

/** A line of 1 kB/s is the slowest that can still be called one; of nothing, no connection could be kept. */
const minBandwidth = 1_000;

const instanceBounds: Readonly<Record<ResourceKind, { readonly least: number; readonly most: number }>> = {
  memory: { least: minInstanceMemory, most: maxInstanceMemory },
  cpu: { least: 0, most: Number.MAX_SAFE_INTEGER },
  storage: { least: 0, most: maxInstanceStorage },
  bandwidth: { least: minBandwidth, most: Number.MAX_SAFE_INTEGER },
};

/** A quantity that its owner can live with; `whose` begins the sentence that refuses another. */
function boundedQuantityField<K extends ResourceKind>(
  kind: K,
  whose: string,
  { least, most }: { readonly least: number; readonly most: number },
): z.ZodType<Resources[K], string | number> {
  return z
    .union([z.string(), z.number()], { error: `expected a quantity: ${notation[kind]}` })
    .transform(
      parsedBy((input) => {
        const amount = parseResource(kind, input);
        if (amount >= least && amount <= most) return amount;
        throw new BellowsError(
          'InvalidQuantity',
          `${whose} can not have ${formatResource(kind, amount)} of ${kind}: it must be ` +
            (amount < least
              ? `at least ${formatResource(kind, least)}.`
              : `at most ${formatResource(kind, most)}.`),
          'Ask for a quantity within the bounds.',
        );
      }),
    )
    .meta({ description: notation[kind] });
}

function instanceQuantityField<K extends ResourceKind>(kind: K): z.ZodType<Resources[K], string | number> {
  return boundedQuantityField(kind, 'An instance', instanceBounds[kind]);
}

/** A tenant that could not run a single instance would have a limit that the kernel never takes: it would wait for ever. */
export const tenantMemoryField = boundedQuantityField('memory', 'A tenant', {
  least: minInstanceMemory,
  most: Number.MAX_SAFE_INTEGER,
});

/** The fields by which an instance's size is named, in a manifest and in a resize. */
export const instanceSizeFields = {
  memory: instanceQuantityField('memory').optional(),
  cpu: instanceQuantityField('cpu').optional(),
  storage: instanceQuantityField('storage').optional(),
  bandwidth: instanceQuantityField('bandwidth').optional(),
};

/** More instances of one app than a machine of this kind runs; a slip of the finger must not start them. */
const maxScale = 1_000;
export const scaleField = z
  .int()
  .min(0)
  .max(maxScale)
  .meta({ description: 'How many instances of an app run.' });

/** How long a caller may wait for what is deferred. */
const maxWaitSeconds = 300;

const planField = z
  .enum(['true', 'false'])
  .optional()
  .transform((value) => value === 'true')
  .meta({ description: 'Only say what would be done.' });

/** `?plan=true` of a call that has nothing to wait for. */
export const planQuery = z.strictObject({ plan: planField });

/** `?plan=true&wait=SECONDS` of every call that changes grants. */
export const changeQuery = z.strictObject({
  plan: planField,
  wait: z
    .string()
    .regex(/^\d{1,3}(\.\d{1,3})?$/, 'expected seconds, such as 5')
    .optional()
    .transform((value) => Number(value ?? 0) * 1_000)
    .refine((waitMs) => waitMs <= maxWaitSeconds * 1_000, `at most ${maxWaitSeconds} seconds can be waited`)
    .meta({
      description: `How many seconds to wait for what is deferred before answering, at most ${maxWaitSeconds}.`,
    }),
});

export const noQuery = z.strictObject({});

/** A whole number in a query, within bounds. */
export function countField(name: string, most: number): z.ZodType<number | undefined, string | undefined> {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'expected a whole number')
    .transform(Number)
    .refine((count) => count <= most, `${name} can be at most ${most}`)
    .optional();
}
