// How quantities look in answers: always strings in notation, which can be put back in.
import { z } from 'zod';
import {
  formatResource,
  resourceKinds,
  type ResourceKind,
  type Resources,
} from '../../../model/resources.ts';

export const quantityView = z
  .string()
  .meta({ description: 'A quantity in notation: "128MiB", "500m", "10MB/s".' });
export const maybeQuantityView = quantityView
  .nullable()
  .meta({ description: 'A quantity in notation; null is no limit.' });

export const sizeView = z.object({
  memory: quantityView,
  cpu: quantityView,
  storage: quantityView,
  bandwidth: quantityView,
});

export function showMaybe(kind: ResourceKind, amount: number | null): string | null {
  return amount === null ? null : formatResource(kind, amount);
}

/** One value for each resource, by its name. */
export function perResource<T>(make: (kind: ResourceKind) => T): Record<ResourceKind, T> {
  return Object.fromEntries(resourceKinds.map((kind) => [kind, make(kind)])) as Record<ResourceKind, T>;
}

export function showSize(size: Resources): z.infer<typeof sizeView> {
  return perResource((kind) => formatResource(kind, size[kind]));
}

export const timeView = z.iso.datetime().meta({ description: 'RFC 3339, UTC.' });

export function showTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
