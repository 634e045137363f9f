// One client that sends numbered messages and holds the account of what comes back. Owns that account and when each message was
// due. Does not own sockets (./websocket.ts), nor when it is to speak (./client.ts).
import type { Moment } from './protocol.ts';

export interface Due {
  /** When it was to be sent, not when it was: a client that is late does not hide what it waited for. */
  readonly atMs: number;
  readonly moment: Moment;
}

/** What clients have in common. */
export interface Hearing {
  /** An answer to a message that was due then; the first time that it comes. */
  heard(due: Due, version: string): void;
  /** What is no answer to any message. */
  strange(text: string): void;
}

/** The echo of a message, and the version of the code that echoed it. */
const echo = /^#(\d+)(?: (.*))?$/;

export class Talker {
  /** Of messages that nothing has come back for, and no later one: the first is number `#next`. */
  readonly #due: Due[] = [];
  /** Those that were overtaken by a later one. */
  readonly #overtaken = new Map<number, Due>();
  readonly #hearing: Hearing;
  #next = 0;
  #sent = 0;
  doubled = 0;
  reordered = 0;

  constructor(hearing: Hearing) {
    this.#hearing = hearing;
  }

  get outstanding(): number {
    return this.#due.length + this.#overtaken.size;
  }

  /** @returns what to send */
  say(due: Due): string {
    this.#due.push(due);
    this.#sent += 1;
    return `#${this.#sent - 1}`;
  }

  onText(text: string): void {
    const [, digits, version = ''] = echo.exec(text) ?? [];
    const number = Number(digits ?? NaN);
    if (!(number < this.#sent)) {
      this.#hearing.strange(text);
      return;
    }
    if (number < this.#next) {
      const late = this.#overtaken.get(number);
      if (late === undefined) {
        this.doubled += 1;
        return;
      }
      this.reordered += 1;
      this.#overtaken.delete(number);
      this.#hearing.heard(late, version);
      return;
    }
    for (; this.#next < number; this.#next += 1) this.#overtaken.set(this.#next, this.#due.shift()!);
    this.#next += 1;
    this.#hearing.heard(this.#due.shift()!, version);
  }
}
