import type { DescriptionSource } from "../../driver/description.ts";
import type { TypedParams } from "../../model/params.ts";
import type { DomainIdentity } from "../../model/record.ts";
import type { HypervisorFacts } from "./daemon.ts";
import { ControlState, PROCEDURES } from "./rpc/procedures.ts";
import { busy, type CallSubject, type SideCallHost, SideCalls } from "./side-calls.ts";
import type { CallKind } from "./sweep/call-queue.ts";
import type { SweepHost } from "./sweep/calls.ts";

/** While this many calls are unanswered, the reader sends no other call. */
const UNANSWERED_MAX = 2;
/**
 * From this version on (11.0.0), libvirt reads a definition only when it has the domain's job (see DomainReader), and
 * waits up to 30 s for the job.
 */
const DEFINITION_TAKES_JOB = 11_000_000;

/** The members of the session that a reader uses. */
export interface ReaderHost extends SideCallHost, Pick<SweepHost, "monitors"> {
  readonly facts: Pick<HypervisorFacts, "libvirtVersion">;
}

/**
 * Reads the definitions, I/O limits and CPU placement of domains, outside the sweeps of a session. Its calls need
 * permits like all other calls, and count towards the same limits. At most two calls of the reader are unanswered at a
 * time. A DescriptionCache makes one call at a time, so it never delays a sweep by more than one call.
 *
 * The reader never waits for a guest. Before a call that needs the domain's job (libvirt's lock for operations on a
 * domain) or its monitor, it asks for the monitor's state, which needs neither. If another client or an overdue call
 * occupies the monitor, the reader does not send the call, and rejects with `deadline-exceeded`.
 */
export class DomainReader implements DescriptionSource {
  readonly #host: ReaderHost;
  readonly #calls: SideCalls;

  constructor(host: ReaderHost) {
    this.#host = host;
    this.#calls = new SideCalls(host, UNANSWERED_MAX);
  }

  async definition(domain: DomainIdentity): Promise<string> {
    if (!this.#hasMonitor(domain) || this.#host.facts.libvirtVersion < DEFINITION_TAKES_JOB) {
      return this.#calls.ask(PROCEDURES.xml, domain, domainCall(domain, "free"));
    }
    await this.#checkMonitor(domain);
    return this.#calls.ask(PROCEDURES.xml, domain, domainCall(domain, "monitor"));
  }

  async limits(domain: DomainIdentity, target: string): Promise<TypedParams> {
    const ask = (kind: CallKind) =>
      this.#calls.ask(PROCEDURES.blockIoTune, { domain, target }, domainCall(domain, kind, kind === "monitor"));
    if (!this.#hasMonitor(domain)) return ask("free");
    await this.#checkMonitor(domain);
    return ask("monitor");
  }

  async placement(domain: DomainIdentity): Promise<ReadonlyMap<number, number>> {
    const vcpus = await this.#calls.ask(PROCEDURES.vcpus, domain, domainCall(domain, "free"));
    return new Map(vcpus.filter(({ cpu }) => cpu >= 0).map(({ number, cpu }) => [number, cpu]));
  }

  /** The session has ended. Admission decides how long calls in flight keep their permits. */
  close(): void {
    this.#calls.close();
  }

  #hasMonitor(domain: DomainIdentity): boolean {
    return this.#host.monitors && domain.id !== -1;
  }

  async #checkMonitor(domain: DomainIdentity): Promise<void> {
    const { admission } = this.#host;
    if (admission.isQuarantined(domain.uuid, "monitor")) throw busy(domainCall(domain, "monitor"));
    const { state } = await this.#calls.ask(PROCEDURES.controlInfo, domain, domainCall(domain, "free"));
    // If a call of this process occupies the monitor and is not overdue, the next call waits for it in the queue.
    if (state !== ControlState.ok && !admission.isInFlight(domain.uuid, "monitor"))
      throw busy(domainCall(domain, "monitor"));
  }
}

function domainCall({ uuid, name }: DomainIdentity, kind: CallKind, usesMonitor = false): CallSubject {
  return { key: uuid, name: `the domain ${name}`, kind, usesMonitor };
}
