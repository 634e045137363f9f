// How much memory a handler is told that it may use (`context.memoryLimitInMB`). Owns which of the two that say it is
// the newer: the agent's notice, and the gateway's invocation, which comes on another socket and so may come first.
const bytesPerMib = 1024 * 1024;

export class MemoryLimit {
  #megabytes: number;
  #configuredMb: number;

  /** @param configuredMb the function's MemorySize when this instance was started */
  constructor(grantBytes: number, configuredMb: number) {
    this.#megabytes = Math.floor(grantBytes / bytesPerMib);
    this.#configuredMb = configuredMb;
  }

  /** The agent says what is granted, or is about to be. */
  granted(grantBytes: number): void {
    this.#megabytes = Math.floor(grantBytes / bytesPerMib);
  }

  /**
   * What an invocation is told. A MemorySize that has changed is news, even when the notice of it is still on its way: who
   * changed it was answered before the invocation was accepted.
   * @param configuredMb the function's MemorySize when the invocation was sent
   */
  at(configuredMb: number): number {
    if (configuredMb !== this.#configuredMb) {
      this.#configuredMb = configuredMb;
      this.#megabytes = configuredMb;
    }
    return this.#megabytes;
  }
}
