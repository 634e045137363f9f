// What runs in an instance before user code and beside it. Owns the process: its sockets, its one binding, its end.
// Does not own functions (function-host.ts) or apps (app-host.ts). It is in every instance: what few of them need
// is loaded after the bind.
//
//   unbound ──bind──▶ binding ──┬──▶ function ──┐
//                               ├──▶ app ───────┴──shutdown, fatal error──▶ exit
//                               └──▶ exit (bindFailed was sent)
import process from 'node:process';
import type { Frame } from '../../base/frame.ts';
import {
  decodeInvoke,
  framesDescriptor,
  frameType,
  insideRunDirectory,
  type BindRequest,
  type FunctionIdentity,
  type GrantNotice,
  type Invoke,
  type Proceed,
} from '../../protocol/instance.ts';
import { keepTickShape } from '../../sys/tick-shape.ts';
import type { AppHost } from './app-host.ts';
import { become } from './become.ts';
import { trim } from './collector.ts';
import { rejectionFailure, RuntimeFailure, toInvocationError } from './failure.ts';
import type { FunctionHost } from './function-host.ts';
import { Governor } from './governor.ts';
import { prepareHeapCeiling } from './heap-ceiling.ts';
import { Links, listenInherited, type Link } from './link.ts';
import { MemoryLimit } from './memory-limit.ts';
import { openMemoryFiles } from './memory.ts';
import {
  emitOnProcess,
  exitProcess,
  monotonicMs,
  nextTurn,
  parseJson,
  startTimer,
  stringifyJson,
} from './primordials.ts';

/** How long an app's open connections may go on after `shutdown`, when the frame does not say. */
const defaultGraceMs = 5000;
/** By then a bind that was sent before the process ran has been read: it does not wait for what is done ahead. */
const warmAfterMs = 10;
/** How long the news of a failed bind may take to reach the kernel before the process exits without. */
const lastWordsMs = 500;

type State =
  | { readonly is: 'unbound' }
  | { readonly is: 'binding' }
  | { readonly is: 'function'; readonly host: FunctionHost }
  | { readonly is: 'app'; readonly host: AppHost };

keepTickShape();

let state: State = { is: 'unbound' };
/** Invocations that came before the process serves a function, in their order. */
let early: { readonly invoke: Invoke; readonly id: number; readonly link: Link }[] = [];
/** Who wants to know of invocations of others, from when there are some. */
let earlyWatchers: Link[] = [];
/** Lets a gated bind load user code. */
let proceed: ((word: Proceed) => void) | undefined;
let memoryLimit: MemoryLimit | undefined;
let functionModules: ReturnType<typeof loadFunctionModules> | undefined;
const governor = new Governor();
const runDirectory = process.env['BELLOWS_RUN_DIR'] ?? insideRunDirectory;
const links = new Links({ onLink, onFrame, onClose });
/** Set for an app, before it starts. */
let app: AppHost | undefined;

// Whoever may connect decides what this process becomes: its maker, and root.
listenInherited(links.server, framesDescriptor);
// Most binds are functions': read while nobody waits, their modules do not cost 3 ms of a cold start (and under 1 MiB).
links.server.once('listening', () => {
  functionModules = loadFunctionModules();
  startTimer(() => {
    if (state.is === 'unbound') prepareHeapCeiling();
  }, warmAfterMs).unref();
});

function onLink(link: Link): void {
  if (state.is === 'function') link.send(frameType.serving, 0, '');
  app?.onLink(link);
}

function onClose(link: Link): void {
  if (state.is === 'function') state.host.linkClosed(link);
  app?.onLinkClosed();
}

function onFrame(frame: Frame, link: Link): void {
  switch (frame.type) {
    case frameType.invoke:
      onInvoke(frame, link);
      break;
    case frameType.watch:
      if (state.is === 'function') state.host.watch(link);
      else earlyWatchers.push(link);
      break;
    case frameType.handover:
      app?.handedOver();
      break;
    case frameType.ping:
      link.send(frameType.pong, frame.id, '');
      break;
    case frameType.bind:
      void bind(frame, link);
      break;
    case frameType.proceed:
      proceed?.(parseJson(frame.payload.toString()) as Proceed);
      break;
    case frameType.grant:
      onGrant(frame, link);
      break;
    case frameType.trim:
      link.send(frameType.trimmed, frame.id, stringifyJson(trim()));
      break;
    case frameType.abandon:
      if (state.is === 'function') state.host.abandon(frame.id, link);
      break;
    case frameType.shutdown:
      shutdown(frame);
      break;
    default:
      // A newer peer's frame: not understanding it is the answer.
      break;
  }
}

async function bind(frame: Frame, link: Link): Promise<void> {
  if (state.is !== 'unbound') {
    link.send(
      frameType.bindFailed,
      frame.id,
      stringifyJson(toInvocationError(new Error('this process is bound already'))),
    );
    return;
  }
  const startedMs = monotonicMs();
  state = { is: 'binding' };
  const request = parseJson(frame.payload.toString()) as BindRequest;
  const inPlace = new Promise<Proceed>((resolve) => {
    if (request.gated === true) proceed = resolve;
    else resolve({ chargedBeforeBytes: 0 });
  });
  const watch = watchStart(link, frame.id, request.kind);
  try {
    if (request.function === null) await startApp(request, inPlace);
    else await startFunction(request, request.function, startedMs, inPlace);
    watch.end();
    link.send(frameType.bound, frame.id, '');
  } catch (thrown) {
    watch.fail(thrown);
    return;
  }
  beginServing();
}

function onInvoke(frame: Frame, link: Link): void {
  const invoke = decodeInvoke(frame.payload);
  if (state.is === 'function') state.host.enqueue(invoke, frame.id, link);
  else early.push({ invoke, id: frame.id, link });
}

/** Whoever sent something ahead hears that it begins before it does: without that word it has not begun. */
function beginServing(): void {
  if (state.is !== 'function') return;
  links.broadcast(frameType.serving, 0, '');
  for (const link of earlyWatchers) if (!link.closed) state.host.watch(link);
  earlyWatchers = [];
  // Whoever closed its link may have it run elsewhere.
  for (const { invoke, id, link } of early) if (!link.closed) state.host.enqueue(invoke, id, link);
  early = [];
}

/** What a function needs beyond waiting. */
function loadFunctionModules() {
  return Promise.all([
    import('./function-host.ts'),
    import('./invocation-log.ts'),
    import('./console.ts'),
    import('./response-stream.ts'),
    import('./load-handler.ts'),
  ]);
}

async function startFunction(
  request: BindRequest,
  identity: FunctionIdentity,
  startedMs: number,
  inPlace: Promise<Proceed>,
): Promise<void> {
  // Before anything is waited for: a notice may come while the modules load.
  const limit = new MemoryLimit(request.grant.memoryBytes, identity.memoryMb);
  memoryLimit = limit;
  const [{ FunctionHost }, { InvocationLog }, { installConsole }, { installStreaming }, { loadHandler }] =
    await (functionModules ?? loadFunctionModules());
  become(request);
  governor.install(request.grant.memoryBytes);
  const log = new InvocationLog();
  process.on('exit', () => log.flush());
  let host: FunctionHost | undefined = undefined;
  installConsole(log, () => host?.requestId);
  installStreaming();
  openMemoryFiles(runDirectory, await inPlace);
  const handler = await loadHandler(request.taskDirectory, request.handler ?? '');
  host = new FunctionHost({
    identity,
    handler,
    initMs: monotonicMs() - startedMs,
    log,
    links,
    memoryLimit: limit,
    onBusy: (busy) => governor.setBusy(busy),
    onStopped: () => exitProcess(0),
  });
  state = { is: 'function', host };
}

async function startApp(request: BindRequest, inPlace: Promise<Proceed>): Promise<void> {
  const { AppHost } = await import('./app-host.ts');
  const host = new AppHost(runDirectory, links, request.grant.bandwidthBytesPerSecond);
  app = host;
  become(request);
  governor.install(request.grant.memoryBytes);
  openMemoryFiles(runDirectory, await inPlace);
  governor.setBusy(true);
  await host.start(request);
  state = { is: 'app', host };
}

/** While user code starts, every way to die is told to the agent as a failed bind. */
function watchStart(
  link: Link,
  id: number,
  kind: BindRequest['kind'],
): { end(): void; fail(thrown: unknown): void } {
  let uncaught: { readonly reason: unknown } | undefined;
  let told = false;
  const tell = (reason: unknown): void => {
    if (told) return;
    told = true;
    const error = stringifyJson(toInvocationError(reason));
    process.stderr.write(`Uncaught Exception \t${error}\n`);
    link.send(frameType.bindFailed, id, error);
  };
  const fail = (reason: unknown): void => {
    tell(reason);
    startTimer(() => exitProcess(1), lastWordsMs);
    link.drained(() => exitProcess(1));
  };
  const reject = (reason: unknown): void => fail(rejectionFailure(reason));
  // An app may have its own way with uncaught errors and live on: only if it dies of one, that was the reason.
  const remember = (reason: unknown): void => {
    uncaught = { reason };
  };
  const onExit = (code: number): void => {
    const exited = new RuntimeFailure('Runtime.ExitError', `Error: Runtime exited with exit status ${code}`);
    tell(uncaught === undefined ? exited : uncaught.reason);
  };
  process.on('exit', onExit);
  if (kind === 'app') {
    process.on('uncaughtExceptionMonitor', remember);
  } else {
    process.on('uncaughtException', fail);
    process.on('unhandledRejection', reject);
  }
  return {
    end: () => {
      process.off('uncaughtExceptionMonitor', remember);
      process.off('uncaughtException', fail);
      process.off('unhandledRejection', reject);
      process.off('exit', onExit);
    },
    fail,
  };
}

function onGrant(frame: Frame, link: Link): void {
  const notice = parseJson(frame.payload.toString()) as GrantNotice;
  memoryLimit?.granted(notice.memoryBytes);
  if (state.is !== 'unbound') governor.setGrant(notice.memoryBytes);
  app?.setBandwidth(notice.bandwidthBytesPerSecond);
  try {
    emitOnProcess('bellows:grant', notice);
  } catch (thrown) {
    // The listener has been told all the same; its error is as uncaught as that of any other listener.
    nextTurn(() => {
      throw thrown;
    });
  }
  link.send(frameType.grantAck, frame.id, '');
}

function shutdown(frame: Frame): void {
  if (state.is === 'function') state.host.stop();
  else if (state.is === 'app') state.host.stop(graceOf(frame));
  else exitProcess(0);
}

function graceOf(frame: Frame): number {
  if (frame.payload.length === 0) return defaultGraceMs;
  const { graceMs } = parseJson(frame.payload.toString()) as { graceMs?: unknown };
  return typeof graceMs === 'number' ? graceMs : defaultGraceMs;
}
