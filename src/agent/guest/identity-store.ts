// Who this unit is, for an agent that was started anew in the same boot. In memory, root's alone: it holds the token.
import { readFileSync } from 'node:fs';
import { isMissing } from '../../base/errors.ts';
import { identity, type Identity } from '../../protocol/guest.ts';
import { writeFileAtomicSync } from '../../sys/atomic-file.ts';

/** The seed is used up. */
export type KeptIdentity = Omit<Identity, 'seed' | 'nowMs'>;

const keptIdentity = identity.omit({ seed: true, nowMs: true });

/** Undefined until this unit has been personalised. */
export function readIdentity(path: string): KeptIdentity | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  return keptIdentity.parse(JSON.parse(text));
}

export function writeIdentity(path: string, kept: KeptIdentity): void {
  writeFileAtomicSync(path, JSON.stringify(kept), 0o600);
}
