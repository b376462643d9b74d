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
import { Completeness } from "../../../../src/drivers/libvirt/sweep/completeness.ts";
import type { WorkerProbe } from "../../../../src/drivers/libvirt/sweep/concurrency-limit.ts";
import { DomainCache } from "../../../../src/drivers/libvirt/sweep/domain-cache.ts";
import { TypedParams } from "../../../../src/model/params.ts";
import { StatsFlag } from "../../../../src/model/query.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { FREE } from "./simulated-daemon.ts";

const BARE = TypedParams.from([
  ["state.state", "int", 1],
  ["balloon.current", "ullong", 1],
]);
const WITH_JOB = TypedParams.from([
  ["state.state", "int", 1],
  ["balloon.current", "ullong", 1],
  ["balloon.rss", "ullong", 1],
]);

interface SharedDomain extends RemoteDomain {
  frozen: boolean;
  /** When the call that has the domain's job began to use the monitor; undefined while no call has the job. */
  since: number | undefined;
  /** Calls that wait for the job, or for a frozen guest. */
  readonly waiting: (() => void)[];
}

/** A daemon on the test's clock which several processes ask. A call takes a time that the test's dice decide, both ways. */
export class SharedDaemon {
  readonly domains: readonly SharedDomain[];
  readonly random: () => number;
  /** How many calls use or wait for a frozen guest now, each in a worker of its own, and the most so far. */
  stuck = 0;
  most = 0;

  constructor(count: number, random: () => number, isFrozen: (index: number) => boolean) {
    this.random = random;
    this.domains = Array.from({ length: count }, (_, i) => ({
      name: `vm${i}`,
      uuid: uuidOf(i),
      id: i + 1,
      frozen: isFrozen(i),
      since: undefined,
      waiting: [],
    }));
  }

  /** Every frozen guest goes on. */
  thaw(): void {
    for (const domain of this.domains) {
      domain.frozen = false;
      for (const wake of domain.waiting.splice(0)) wake();
    }
  }

  async call(procedure: Procedure<never, unknown>, args: unknown): Promise<unknown> {
    await this.#travel();
    const answer = await this.#answer(procedure, args);
    await this.#travel();
    return answer;
  }

  /** Mostly short, now and then long: a busy machine. */
  #travel(): Promise<void> {
    return pause(this.random() < 0.1 ? this.random() * 40 : this.random() * 2);
  }

  async #answer(procedure: Procedure<never, unknown>, args: unknown): Promise<unknown> {
    if (procedure === PROCEDURES.listDomains) return this.domains;
    if (procedure === PROCEDURES.countRunning) return this.domains.length;
    if (procedure === PROCEDURES.countDefined) return 0;
    if (procedure === PROCEDURES.controlInfo) return this.#control(this.#find((args as RemoteDomain).uuid));
    const { uuids, groups, flags } = args as StatsArgs;
    const domain = this.#find(uuids[0]!);
    const usesMonitor = groups === 0 || (groups & ~FREE) !== 0;
    const params = usesMonitor && (await this.#use(domain, (flags & StatsFlag.nowait) === 0)) ? WITH_JOB : BARE;
    return [{ domain, params }];
  }

  /** Gets the domain's job and uses its monitor. Returns whether it got the job. */
  async #use(domain: SharedDomain, waits: boolean): Promise<boolean> {
    if (domain.since !== undefined && !waits) return false;
    const { frozen } = domain;
    if (frozen) this.most = Math.max(this.most, ++this.stuck);
    while (domain.since !== undefined) await new Promise<void>((resolve) => domain.waiting.push(resolve));
    domain.since = performance.now();
    while (domain.frozen) await new Promise<void>((resolve) => domain.waiting.push(resolve));
    if (frozen) this.stuck--;
    else await pause(2 + this.random() * 10);
    domain.since = undefined;
    domain.waiting.shift()?.();
    return true;
  }

  #control({ since }: SharedDomain): ControlInfo {
    if (since === undefined) return { state: ControlState.ok, details: 0, forMs: 0 };
    return { state: ControlState.occupied, details: 0, forMs: Math.floor(performance.now() - since) };
  }

  #find(uuid: string): SharedDomain {
    return this.domains[Number(uuid.slice(-12))]!;
  }
}

/** One process with two connections to the daemon: what it knows of the other processes the daemon has told it. */
export class ProcessOfMany implements SweepHost {
  readonly host = "node1";
  readonly admission = new Admission(() => performance.now());
  readonly domainCache = new DomainCache(() => performance.now());
  readonly batchSize = new BatchSize();
  readonly completeness = new Completeness(9_000_000);
  readonly monitors = true;
  readonly facts = { hypervisor: "qemu", statistics: true };
  readonly #daemon: SharedDaemon;

  constructor(daemon: SharedDaemon) {
    this.#daemon = daemon;
    for (let i = 0; i < 2; i++) this.admission.addConnection(this);
  }

  crowded(): void {}

  async probeWorker(probe: WorkerProbe): Promise<void> {
    await pause(2 + this.#daemon.random() * 5);
    if (probe.useful) probe.answered();
    probe.end();
  }

  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args): Promise<Result> {
    return this.#daemon.call(procedure as Procedure<never, unknown>, args) as Promise<Result>;
  }
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
