// The headers of one request, and what was read out of them. A client that keeps its connection open repeats most of
// its headers, so the lane gives requests with the same header lines the same block, and what costs time to make of
// them is made once. Owns lookup and that memory. Does not own parsing, nor what headers mean.
import type { EventHeaders } from './url/event-headers.ts';

export class HeaderBlock {
  /** Names and values in turn, as they came. */
  readonly raw: readonly string[];
  /** For the event of a function's URL; filled by url/event.ts. A block belongs to one connection, so its address is in it. */
  eventHeaders: EventHeaders | undefined;

  constructor(raw: readonly string[]) {
    this.raw = raw;
  }

  /** @param lowerName in lower case. Several lines of one name are one list. */
  get(lowerName: string): string | undefined {
    const { raw } = this;
    let value: string | undefined;
    for (let index = 0; index + 1 < raw.length; index += 2) {
      const name = raw[index] ?? '';
      if (name.length !== lowerName.length || name.toLowerCase() !== lowerName) continue;
      value = value === undefined ? raw[index + 1] : `${value}, ${raw[index + 1]}`;
    }
    return value;
  }
}
