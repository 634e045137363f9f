// What an archive may cost, and why. Owns numbers only.
import { mib } from '../../base/quantity.ts';

/** Lambda's limit of a zip that comes with the request. */
export const maxArchiveBytes = 50 * mib;
/**
 * Lambda's limit of a deployment package, unpacked; counted while unpacking. It is also what stops a bomb: there is
 * no limit of the ratio besides, for honest text packs a hundred to one and this bounds what any ratio can cost.
 */
export const maxUnpackedBytes = 250 * mib;
/** Files, links and directories, named or implied: twice the largest node_modules seen in practice; bounds inodes. */
export const maxEntries = 50_000;
/** In bytes of UTF-8: leaves three quarters of the kernel's PATH_MAX (4,096) to whatever stands before it. */
export const maxPathBytes = 1_024;
/** NAME_MAX of Linux file systems. */
export const maxSegmentBytes = 255;
/** Nested node_modules stay below 20; bounds what one entry can imply. */
export const maxPathDepth = 32;
/** As the kernel itself: how many links may be followed before a path is called a loop (MAXSYMLINKS). */
export const maxLinkHops = 40;
/** A manifest with the largest environment that is allowed, and room for comments' worth of white space. */
export const maxManifestBytes = 256 * 1024;
