// Which keys a store takes: the same ones in every implementation, so that order and prefixes mean the same in all.

/** Printable ASCII without spaces, since there the order of characters and the order of bytes are one. */
const keyPattern = /^[\x21-\x7e]{1,512}$/;

/** Keys are made by our own code, never by a caller: a bad one is a defect. @throws TypeError */
export function checkKey(key: string): void {
  if (!keyPattern.test(key))
    throw new TypeError(`${JSON.stringify(key.slice(0, 80))} can not be a key of the store`);
}
