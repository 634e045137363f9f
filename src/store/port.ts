// The seam to durable state: revisioned keys with compare-and-set, list and watch; blobs by content.
// Owns the contract (contract.ts beside it is its test). Values are JSON; who writes which keys is the controller's matter.
// Keys are 1 to 512 printable ASCII characters without spaces (key.ts); their order is that of the characters.

export interface Entry<T = unknown> {
  readonly key: string;
  readonly value: T;
  /** Grows with every write to the store; never reused. */
  readonly revision: number;
}

export type StoreEvent =
  | { readonly type: 'put'; readonly entry: Entry }
  | { readonly type: 'delete'; readonly key: string; readonly revision: number };

export interface Store {
  get<T>(key: string): Promise<Entry<T> | undefined>;
  /** Entries whose key begins with `prefix`, in key order. `after` and `limit` page through them. */
  list<T>(
    prefix: string,
    options?: { readonly after?: string; readonly limit?: number },
  ): Promise<Entry<T>[]>;
  /**
   * Writes and returns the new revision, durable when it resolves. `expect`: the revision the key must stand at,
   * 0 for "must not exist"; omitted writes always. @throws BellowsError Conflict
   */
  put(key: string, value: unknown, options?: { readonly expect?: number }): Promise<number>;
  /** Removes a key; false when it was not there. @throws BellowsError Conflict */
  delete(key: string, options?: { readonly expect?: number }): Promise<boolean>;
  /**
   * Changes of keys beginning with `prefix` from this call on, in order of revision; ends when `signal` aborts or the
   * store closes. @throws BellowsError Unavailable from the iteration when the reader falls too far behind: list anew.
   */
  watch(prefix: string, signal: AbortSignal): AsyncIterable<StoreEvent>;
  /** Stores bytes under their lower-case hex SHA-256; storing the same again is free. */
  putBlob(bytes: Uint8Array): Promise<string>;
  getBlob(sha256: string): Promise<Buffer | undefined>;
  deleteBlob(sha256: string): Promise<void>;
  listBlobs(): Promise<string[]>;
  close(): Promise<void>;
}
