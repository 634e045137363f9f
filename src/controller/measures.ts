// What the kernel says is used, asked of the agent no more often than needed, and processor rates from two samples.
// Owns samples; what they mean for an instance or a tenant is ./views.ts and ./ledger.ts.
import type { Clock } from '../base/clock.ts';
import type { InstanceId, TenantId } from '../base/ids.ts';
import type { InstanceUsage } from '../model/instance.ts';
import type { AgentProtocol } from '../protocol/agent.ts';
import type { Caller, ResultOf } from '../protocol/rpc.ts';

export type Sample = ResultOf<AgentProtocol['methods']['measure']>;

/** Readers within this time share one sample: a page that asks for instances, units and ledger sees one moment. */
const freshMs = 200;
/** Rates over less than this say more about the kernel's clock ticks than about the code. */
const rateWindowMs = 500;
/** An agent that does not answer by then is away; what was known before is shown. */
const measureTimeoutMs = 2_000;

export class Measures {
  readonly #agent: () => Caller<AgentProtocol>;
  readonly #clock: Clock;
  #latest: { sample: Sample; atMonotonicMs: number } | undefined;
  /** Of the latest: who decides about all of them asks for each. */
  #byId: ReadonlyMap<InstanceId, Sample['instances'][number]> = new Map();
  /** The sample that rates are taken against: at least a window older than the latest. */
  #base: Sample | undefined;
  #underWay: Promise<Sample> | undefined;
  readonly #listeners: ((sample: Sample) => void)[] = [];

  constructor(agent: () => Caller<AgentProtocol>, clock: Clock) {
    this.#agent = agent;
    this.#clock = clock;
  }

  /** A sample at most `maxAgeMs` old. @throws BellowsError Unavailable */
  async sample(maxAgeMs = freshMs): Promise<Sample> {
    if (this.#latest !== undefined && this.#clock.monotonicMs() - this.#latest.atMonotonicMs <= maxAgeMs)
      return this.#latest.sample;
    this.#underWay ??= this.#measure().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  /** Is told each sample once, whoever asked for it: not all are whole (`limits`). */
  onSample(listener: (sample: Sample) => void): void {
    this.#listeners.push(listener);
  }

  /** The last sample, however old. */
  get last(): Sample | undefined {
    return this.#latest?.sample;
  }

  usageOf(id: InstanceId): InstanceUsage | undefined {
    return this.#byId.get(id)?.usage;
  }

  /** What an instance stores; undefined when it is not known. */
  storageOf(id: InstanceId): number | undefined {
    return this.#byId.get(id)?.storageBytes;
  }

  /** Processor time that an instance used lately, in millicores; 0 until there are two samples of it. */
  cpuRateOf(id: InstanceId): number {
    return this.#rate(
      (sample) => sample.instances.find((instance) => instance.id === id)?.usage.cpuUsageMicros,
    );
  }

  cpuRateOfTenant(id: TenantId): number {
    return this.#rate((sample) => sample.tenants.find((tenant) => tenant.tenant === id)?.cpuUsageMicros);
  }

  #rate(micros: (sample: Sample) => number | undefined): number {
    if (this.#base === undefined || this.#latest === undefined) return 0;
    const from = micros(this.#base);
    const to = micros(this.#latest.sample);
    const elapsedMs = this.#latest.sample.atMs - this.#base.atMs;
    if (from === undefined || to === undefined || elapsedMs <= 0) return 0;
    // Microseconds per millisecond are millicores.
    return Math.max(0, Math.round((to - from) / elapsedMs));
  }

  async #measure(): Promise<Sample> {
    const sample = await this.#agent().call('measure', {}, { timeoutMs: measureTimeoutMs });
    const previous = this.#latest?.sample;
    if (
      previous !== undefined &&
      (this.#base === undefined ||
        sample.atMs - previous.atMs >= rateWindowMs ||
        sample.atMs - this.#base.atMs >= 2 * rateWindowMs)
    ) {
      this.#base = previous;
    }
    this.#latest = { sample, atMonotonicMs: this.#clock.monotonicMs() };
    this.#byId = new Map(sample.instances.map((instance) => [instance.id, instance]));
    for (const listener of this.#listeners) listener(sample);
    return sample;
  }
}
