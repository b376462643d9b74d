import type { Connection } from "../client/connection.ts";
import type { DomainRates } from "../client/rates.ts";
import { LIBVIRT_SCHEMES } from "../drivers/libvirt/driver.ts";
import { parseLibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import type { DomainIdentity } from "../model/record.ts";
import type { Diagnosis } from "../overview/diagnosis.ts";
import { shellWord } from "../overview/shell-word.ts";
import { slownessOf } from "../overview/slowness.ts";
import { diagnose } from "./diagnosis.ts";
import { collectEvidence } from "./guest-evidence.ts";
import { virshUri } from "./guests.ts";
import { askServer, type GuestSource } from "./server-diagnosis.ts";
import { UnansweredCalls } from "./unanswered-calls.ts";

/** How long a guest is watched, in ms. */
export const OVER_MS = 1_000;
/** The deadline of a record, in ms. Two records and the evidence then take a few seconds. */
const DEADLINE_MS = 1_500;

/**
 * Finds out what is wrong with guests, and what helps. Use one Examiner for the whole program, because it remembers the
 * calls that got no answer.
 */
export class Examiner {
  readonly #connection: Connection;
  readonly #sourceOf: (host: string) => GuestSource;
  readonly #calls = new UnansweredCalls();

  /**
   * @param connection the connection that reads the guests
   * @param sourceOf returns the URI from which the guests of a host are read, and the credentials for this URI
   */
  constructor(connection: Connection, sourceOf: (host: string) => GuestSource) {
    this.#connection = connection;
    this.#sourceOf = sourceOf;
  }

  /**
   * Examines one guest. If another virstream serves the guest and can examine it, that virstream does the whole
   * examination. Otherwise this method watches the guest for a second, and on a libvirt host it collects more evidence.
   *
   * @throws VirstreamError if the guest cannot be watched; the signal's reason, when it is aborted
   */
  async examine(domain: DomainIdentity, signal: AbortSignal): Promise<Diagnosis> {
    const source = this.#sourceOf(domain.host);
    const answer = await askServer(source, domain, signal);
    if (typeof answer === "object") return answer;
    const began = performance.now();
    const query = { deadlineMs: DEADLINE_MS, rates: true, overMs: OVER_MS } as const;
    const [rates] = await this.#connection.domainListGetStats([domain.uuid], query, { signal });
    return await this.#diagnose(source.uri, rates!, performance.now() - began, signal, answer);
  }

  /**
   * Examines a guest that the caller already watches.
   *
   * @param askedForMs how long virstream has been asking the guest, in ms
   */
  async examineRates(rates: DomainRates, askedForMs: number, signal: AbortSignal): Promise<Diagnosis> {
    const { domain, status } = rates.record;
    const source = this.#sourceOf(domain.host);
    const answer = status === "gone" ? undefined : await askServer(source, domain, signal);
    if (typeof answer === "object") return answer;
    return await this.#diagnose(source.uri, rates, askedForMs, signal, answer);
  }

  /**
   * Makes a diagnosis. On a libvirt host, it collects evidence first.
   *
   * @param refusal why the virstream server that has the guest did not examine it; undefined: the server gave no reason
   */
  async #diagnose(
    uri: string,
    rates: DomainRates,
    askedForMs: number,
    signal: AbortSignal,
    refusal?: string,
  ): Promise<Diagnosis> {
    const { domain, status, state } = rates.record;
    const scheme = schemeOf(uri);
    if (status === "gone" || !LIBVIRT_SCHEMES.includes(scheme)) {
      return diagnose({ rates, virsh: "virsh", askedForMs, isSimulated: scheme === "test", refusal });
    }
    const libvirt = parseLibvirtUri(uri);
    const slowDisks = slownessOf(rates).flatMap(({ disk }) => disk?.name ?? []);
    const evidence = await collectEvidence(libvirt, domain, state, slowDisks, this.#calls, signal);
    return diagnose({ rates, evidence, virsh: `virsh -c ${shellWord(virshUri(libvirt))}`, askedForMs });
  }
}

function schemeOf(uri: string): string {
  return /^[^:]*/.exec(uri)![0].toLowerCase();
}
