import {
  type ControlInfo,
  ControlState,
  PROCEDURES,
  type Procedure,
  type StatsArgs,
} from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import type { RemoteDomain } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import { BatchSize } from "../../../../src/drivers/libvirt/sweep/batch-size.ts";
import type { SweepHost } from "../../../../src/drivers/libvirt/sweep/calls.ts";
import type { Completeness } from "../../../../src/drivers/libvirt/sweep/completeness.ts";
import type { WorkerProbe } from "../../../../src/drivers/libvirt/sweep/concurrency-limit.ts";
import { DomainCache } from "../../../../src/drivers/libvirt/sweep/domain-cache.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { TypedParams } from "../../../../src/model/params.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";

/** How a made-up domain behaves: how long its monitor takes, how long what needs none takes, or what goes wrong. */
export interface Behaviour {
  monitorMs?: number;
  freeMs?: number;
  /** What every statistics call is refused with. */
  error?: VirstreamError;
  /** What the next statistics calls are refused with, one each. */
  errors?: VirstreamError[];
  gone?: boolean;
  hidden?: boolean;
  active?: boolean;
  params?: TypedParams;
  control?: ControlInfo;
  checkMs?: number;
}

/** Of a time that something takes: it takes for ever, or until the test lets go. */
export const NEVER = Number.POSITIVE_INFINITY;
/** The groups that need no monitor. */
export const FREE = 0x151;

const STATE = TypedParams.from([["state.state", "int", 1]]);

/** A daemon on the test's clock. It watches that no more is asked of it than five calls at a time per connection. */
export class SimulatedDaemon implements SweepHost {
  readonly host = "node1";
  readonly admission = new Admission(() => performance.now());
  readonly domainCache = new DomainCache(() => performance.now());
  readonly batchSize = new BatchSize();
  completeness: Completeness | undefined;
  monitors = true;
  facts = { hypervisor: "qemu", statistics: true };
  readonly domains: { name: string; uuid: string; id: number; behaviour: Behaviour }[];
  readonly calls: { name: string; args: unknown; at: number }[] = [];
  /** The most calls in flight at a time, per connection. */
  most = [0, 0];
  crowds = 0;
  /** How long what is about all domains takes: to list them, and to count them. */
  listMs = 1;
  readonly #flying = [0, 0];
  readonly #thaw: (() => void)[] = [];

  constructor(count: number, behaviour: (index: number) => Behaviour = () => ({})) {
    this.admission.addConnection(this);
    this.domains = Array.from({ length: count }, (_, i) => ({
      name: `vm${i}`,
      uuid: uuidOf(i),
      id: i + 1,
      behaviour: behaviour(i),
    }));
  }

  crowded(): void {
    this.crowds++;
  }

  /** Every frozen call is answered now. */
  thaw(): void {
    for (const answer of this.#thaw.splice(0)) answer();
  }

  /** How often a domain's monitor was asked. */
  monitorCalls(index: number): number {
    return this.statsCalls.filter(
      ({ uuids, groups }) => uuids[0] === uuidOf(index) && (groups === 0 || (groups & ~FREE) !== 0),
    ).length;
  }

  /** The uuids of the domains that were looked at, in that order. */
  get checks(): string[] {
    return this.calls
      .filter(({ name }) => name === PROCEDURES.controlInfo.name)
      .map(({ args }) => (args as RemoteDomain).uuid);
  }

  /** How often the daemon was asked this. */
  count(procedure: Procedure<never, unknown>): number {
    return this.calls.filter(({ name }) => name === procedure.name).length;
  }

  get statsCalls(): StatsArgs[] {
    return this.calls.filter(({ name }) => name === PROCEDURES.stats.name).map(({ args }) => args as StatsArgs);
  }

  probeWorker(probe: WorkerProbe): void {
    probe.answered();
    probe.end();
  }

  async call<Args, Result>(procedure: Procedure<Args, Result>, args: Args, connection: number): Promise<Result> {
    this.calls.push({ name: procedure.name, args, at: performance.now() });
    this.#flying[connection]!++;
    this.most[connection] = Math.max(this.most[connection]!, this.#flying[connection]!);
    try {
      return (await this.#answer(procedure as Procedure<never, unknown>, args)) as Result;
    } finally {
      this.#flying[connection]!--;
    }
  }

  async #answer(procedure: Procedure<never, unknown>, args: unknown): Promise<unknown> {
    if (procedure === PROCEDURES.listDomains) {
      await this.#wait(this.listMs);
      return this.domains;
    }
    if (procedure === PROCEDURES.countRunning || procedure === PROCEDURES.countDefined) {
      await this.#wait(this.listMs);
      return this.domains.filter(({ id }) => (id === -1) === (procedure === PROCEDURES.countDefined)).length;
    }
    if (procedure === PROCEDURES.stats) return this.#stats(args as StatsArgs);
    if (procedure === PROCEDURES.controlInfo) return this.#control(args as RemoteDomain);
    if (procedure === PROCEDURES.state) return this.#state(args as RemoteDomain);
    const domain = this.domains.find(({ name, uuid }) => name === args || uuid === args);
    await this.#wait(domain?.behaviour.freeMs ?? 0.2);
    if (domain === undefined || domain.behaviour.gone) throw libvirtError(42, "unknown-domain");
    return domain;
  }

  async #control({ uuid }: RemoteDomain): Promise<ControlInfo> {
    const behaviour = this.#find(uuid)?.behaviour;
    await this.#wait(behaviour?.checkMs ?? 0.1);
    if (behaviour === undefined || behaviour.gone) throw libvirtError(42, "unknown-domain");
    return behaviour.control ?? { state: ControlState.ok, details: 0, forMs: 0 };
  }

  async #state({ uuid }: RemoteDomain): Promise<TypedParams> {
    const { freeMs = 0.2, gone, error } = this.#find(uuid)!.behaviour;
    await this.#wait(freeMs);
    if (gone) throw libvirtError(42, "unknown-domain");
    if (error !== undefined) throw error;
    return STATE;
  }

  async #stats({ uuids, groups, flags }: StatsArgs): Promise<unknown> {
    const monitor = groups === 0 || (groups & ~FREE) !== 0;
    const answers: unknown[] = [];
    // The daemon takes one after the other, and one error fails the call. The clock has whole ms: what is less adds up.
    let owed = 0;
    for (const uuid of uuids) {
      const domain = this.#find(uuid);
      if (domain === undefined) continue;
      const { monitorMs = 8, freeMs = 0.2, gone, hidden, active = true, params = STATE } = domain.behaviour;
      owed += monitor && this.monitors ? monitorMs : freeMs;
      if (owed >= 1) {
        await this.#wait(owed);
        owed = 0;
      }
      const error = domain.behaviour.errors?.shift() ?? domain.behaviour.error;
      if (error !== undefined) throw error;
      if (gone || hidden || ((flags & 1) !== 0 && !active) || ((flags & 2) !== 0 && active)) continue;
      answers.push({ domain, params });
    }
    if (owed > 0) await this.#wait(owed);
    return answers;
  }

  /** The domain of a uuid that uuidOf made of its position. */
  #find(uuid: string) {
    const domain = this.domains[Number(uuid.slice(-12))];
    return domain?.uuid === uuid ? domain : undefined;
  }

  #wait(ms: number): Promise<void> {
    if (ms === NEVER) return new Promise((resolve) => this.#thaw.push(resolve));
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}

/** What the daemon answers, with its own number and our code for it. */
export function libvirtError(code: number, ours: VirstreamError["code"]): VirstreamError {
  return new VirstreamError(ours, `libvirt ${code}`, { libvirt: { code, domain: 10 } });
}
