// Every bound that held connections keep to, with its reason.

export const heldBounds = {
  /** API Gateway's quota "WebSocket message payload size", both ways. */
  messageBytes: 128 * 1024,
  /** Of one connection; from here on its client is not read from until half of them are done. A few for a burst. */
  pauseAtMessages: 32,
  /** The same in bytes: two of the largest. */
  pauseAtBytes: 256 * 1024,
  /** What a client may leave unread before nothing more is taken for it. */
  mostUnsentBytes: 1024 * 1024,
  /** How many of one function are handed over at once: half of those that may wait for it, so that its other callers get in. */
  atOnce: 500,
  /** Pause after the function's instances were refused, unless one of its calls ends sooner. */
  retryMs: 250,
  /** How long messages wait while nothing can run them: longer than a restart, a deployment or a unit's start takes. */
  patienceMs: 300_000,
} as const;
