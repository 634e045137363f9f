// The one error class that crosses a boundary of Bellows, and the catalogue of its codes.
// Owns: code, HTTP status and whose fault it is. Does not own: how an API words it on the wire (src/api, src/protocol).

/** Whose fault an error is: `caller` may solve it by asking differently, `workload` is user code's, `host` is ours. */
export type Fault = 'caller' | 'workload' | 'host';

interface ErrorKind {
  readonly status: number;
  readonly fault: Fault;
}

/** Every stable code. People script against them: a code is never renamed, only added. docs/ERRORS.md lists them. */
export const errorKinds = {
  BadRequest: { status: 400, fault: 'caller' },
  InvalidQuantity: { status: 400, fault: 'caller' },
  InvalidName: { status: 400, fault: 'caller' },
  InvalidManifest: { status: 400, fault: 'caller' },
  InvalidArchive: { status: 400, fault: 'caller' },
  UnsafeArchive: { status: 400, fault: 'caller' },
  InvalidCertificate: { status: 400, fault: 'caller' },
  UnsupportedRuntime: { status: 400, fault: 'caller' },
  Unauthorized: { status: 401, fault: 'caller' },
  Forbidden: { status: 403, fault: 'caller' },
  NotFound: { status: 404, fault: 'caller' },
  MethodNotAllowed: { status: 405, fault: 'caller' },
  TooSlow: { status: 408, fault: 'caller' },
  Conflict: { status: 409, fault: 'caller' },
  ArchiveTooLarge: { status: 413, fault: 'caller' },
  PayloadTooLarge: { status: 413, fault: 'caller' },
  Infeasible: { status: 422, fault: 'caller' },
  LimitReached: { status: 429, fault: 'caller' },
  StartFailed: { status: 502, fault: 'workload' },
  WorkloadFailed: { status: 502, fault: 'workload' },
  NotReady: { status: 503, fault: 'host' },
  NoRoom: { status: 503, fault: 'host' },
  Unavailable: { status: 503, fault: 'host' },
  GuestHung: { status: 503, fault: 'host' },
  UnitLost: { status: 503, fault: 'host' },
  UpgradeFailed: { status: 503, fault: 'host' },
  CodeNotDelivered: { status: 503, fault: 'host' },
  TimedOut: { status: 504, fault: 'workload' },
  NotSupportedHere: { status: 501, fault: 'host' },
  Internal: { status: 500, fault: 'host' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

/** An error as it travels between processes and to callers. */
export interface ErrorRecord {
  readonly code: ErrorCode;
  /** What happened and why, one sentence each. */
  readonly message: string;
  /** How to solve it, in the imperative; absent when the caller can do nothing. */
  readonly hint?: string;
}

/** An expected failure: it has a stable code, says what and why, and how to solve it. Anything else thrown is a defect. */
export class BellowsError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BellowsError';
    this.code = code;
    this.hint = hint;
  }

  get status(): number {
    return errorKinds[this.code].status;
  }

  toRecord(): ErrorRecord {
    return this.hint === undefined
      ? { code: this.code, message: this.message }
      : { code: this.code, message: this.message, hint: this.hint };
  }

  static fromRecord(record: ErrorRecord): BellowsError {
    return new BellowsError(record.code, record.message, record.hint);
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What the system says when there is no room: errno of files, and SQLite's own code. */
const diskFullCodes: readonly unknown[] = ['ENOSPC', 'EDQUOT'];
const sqliteFull = 13;

export function isDiskFull(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  return (
    ('code' in thrown && diskFullCodes.includes(thrown.code)) ||
    ('errcode' in thrown && thrown.errcode === sqliteFull)
  );
}

/** Whether the system says that a file, or a program, is not there. */
export function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT';
}

/** The expected failure behind an error of the system; undefined for a defect. */
export function knownSystemError(thrown: unknown): BellowsError | undefined {
  if (!isDiskFull(thrown)) return undefined;
  return new BellowsError(
    'NoRoom',
    'The disk with the data directory is full.',
    'Free some room, and try again. What is stored already is safe.',
    { cause: thrown },
  );
}

/** What a caller may see of anything that was thrown: a defect's details stay in our log, never in an answer. */
export function toErrorRecord(thrown: unknown): ErrorRecord {
  const known = thrown instanceof BellowsError ? thrown : knownSystemError(thrown);
  if (known !== undefined) return known.toRecord();
  return { code: 'Internal', message: 'Bellows failed to do this; the details are in its log.' };
}
