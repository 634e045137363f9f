// Standard output and error of a command: lines, tables, JSON. Owns what happens when nobody reads on (`| head`).
import type { Writable } from 'node:stream';
import { styleText } from 'node:util';

export type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green';

export interface Streams {
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly rows?: number; readonly columns?: number };
  readonly stderr: Writable;
}

export class Output {
  readonly streams: Streams;
  /** A person looks at it: then there may be colours and a live screen. */
  readonly isTerminal: boolean;
  readonly #colours: boolean;

  constructor(streams: Streams, env: NodeJS.ProcessEnv) {
    this.streams = streams;
    this.isTerminal = streams.stdout.isTTY === true;
    this.#colours = this.isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  }

  line(text = ''): void {
    this.streams.stdout.write(`${text}\n`);
  }

  raw(bytes: string | Uint8Array): void {
    this.streams.stdout.write(bytes);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, null, 2));
  }

  /** For the person, beside the result that goes to a file or a pipe. */
  note(text: string): void {
    this.streams.stderr.write(`${text}\n`);
  }

  style(style: Style, text: string): string {
    return this.#colours ? styleText(style, text, { validateStream: false }) : text;
  }

  /** Columns as wide as their widest cell; numbers are given as text. */
  table(head: readonly string[], rows: readonly (readonly string[])[], none: string): void {
    if (rows.length === 0) {
      this.note(none);
      return;
    }
    const [first = '', ...rest] = formatTable([head, ...rows]);
    this.line(this.style('bold', first));
    for (const row of rest) this.line(row);
  }
}

export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Text that others wrote, without what would move the cursor or colour the terminal. Tabs stay. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
}

/** `bellows logs | head` closes our output: then there is nothing left to do, and that is no failure. */
export function endWhenNobodyReads(stream: Writable, end: () => void): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // EIO: the terminal is gone.
    if (error.code === 'EPIPE' || error.code === 'EIO') end();
    else throw error;
  });
}
