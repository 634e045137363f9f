// The image that units are started from: the operator's own, or the one that Bellows builds. Owns the choice.
import { buildGuestImage, type BuildOptions } from './build.ts';
import { ownImage } from './own-image.ts';
import type { GuestImage } from './port.ts';

export interface GuestImageOptions extends BuildOptions {
  /** A directory with an image of the operator's own; null for the one that is built. */
  readonly ownDirectory: string | null;
}

/** @throws BellowsError BadRequest for a wrong image of one's own; else as {@link buildGuestImage} */
export function guestImage({ ownDirectory, ...options }: GuestImageOptions): Promise<GuestImage> {
  return ownDirectory === null ? buildGuestImage(options) : ownImage(ownDirectory);
}
