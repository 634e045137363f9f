// The seam to runtimes: how a workload's code is started, and what the started process understands.
// Pure description, used by the agent. Owns the contract (contract.ts beside it is its test, for runtimes that speak
// frames). Does not own starting processes, nor the sandbox.
import type { RuntimeName } from '../model/workload.ts';

/** What of an instance decides how its code is started. */
export interface LaunchInput {
  readonly kind: 'function' | 'app';
  /** An app's command line as written in its manifest. */
  readonly start: string | null;
  readonly env: Readonly<Record<string, string>>;
  /** Where the unpacked code is, as the process will see it. */
  readonly taskDirectory: string;
}

/** Where things are, as the started process sees them. */
export interface LaunchPlaces {
  /** The `node` executable. */
  readonly node: string;
  /** The directory that stands for `src/runtime`, with its entries as plain JavaScript, ending in nothing: `…/runtime`. */
  readonly runtimeDirectory: string;
  readonly runDirectory: string;
  /** The most memory the instance may ever be granted, in bytes: the ceiling of a managed heap. */
  readonly ceilingBytes: number;
}

/** A process to start. */
export interface LaunchPlan {
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment. Of a process that is bound later: only until then. */
  readonly env: Readonly<Record<string, string>>;
}

/** How an instance of a workload comes to be.
 * `bind`: start {@link Runtime.pooled}, or take a waiting one, then send it a bind frame with `argv`.
 * `exec`: start this plan; it speaks no frames, and an app in it listens on the TCP port it finds in `PORT`. */
export type Launch =
  | { readonly way: 'bind'; readonly argv: readonly string[] }
  | { readonly way: 'exec'; readonly plan: LaunchPlan; readonly portVariable: 'PORT' };

export interface Runtime {
  readonly name: RuntimeName;
  /** Whether processes can be started ahead, before it is known for whom. */
  readonly poolable: boolean;
  /** The unbound process that waits for a bind, and inherits its listening socket (`framesDescriptor`); null unless `poolable`. */
  pooled(places: LaunchPlaces): LaunchPlan | null;
  /** @throws BellowsError UnsupportedRuntime when this runtime can not run such a workload */
  launch(input: LaunchInput, places: LaunchPlaces, port: number): Launch;
}
