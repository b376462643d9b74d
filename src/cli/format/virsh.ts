import type { Param } from "../../model/params.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { Format, type OtherEvent } from "./format.ts";

/**
 * What `virsh domstats` prints, byte for byte. Like virsh it leaves out domains that failed. virsh prints in the order
 * of the host's listing and records come as they are ready, so an early record is held back until those before it are
 * there.
 */
export class VirshFormat extends Format {
  #next = 0;
  #separator = "";
  readonly #early = new Map<number, DomainStatsRecord>();

  record(record: DomainStatsRecord): string {
    this.#early.set(record.index, record);
    let text = "";
    for (let due = this.#early.get(this.#next); due !== undefined; due = this.#early.get(this.#next)) {
      text += this.#print(due);
      this.#early.delete(this.#next++);
    }
    return text;
  }

  override end(): string {
    const rest = [...this.#early.values()].sort(byIndex);
    return `${rest.map((record) => this.#print(record)).join("")}\n`;
  }

  #print(record: DomainStatsRecord): string {
    if (!isPrinted(record)) return "";
    const text = this.#separator + domainText(record);
    this.#separator = "\n";
    return text;
  }
}

/** What `virsh domstats` prints, once per sweep of a host, at its end. */
export class VirshWatchFormat extends Format {
  readonly #sweeps = new Map<string, Map<string, DomainStatsRecord>>();

  record(record: DomainStatsRecord): string {
    const { host, uuid } = record.domain;
    const sweep = this.#sweeps.get(host) ?? new Map<string, DomainStatsRecord>();
    this.#sweeps.set(host, sweep);
    // A sweep may be interrupted and start again: the newer of two records counts.
    sweep.set(uuid, record);
    return "";
  }

  override event(event: OtherEvent): string {
    if (event.type !== "sync") return "";
    const records = [...(this.#sweeps.get(event.host)?.values() ?? [])].filter(isPrinted).sort(byIndex);
    this.#sweeps.delete(event.host);
    return `${records.map(domainText).join("\n")}\n`;
  }
}

function isPrinted({ status }: DomainStatsRecord): boolean {
  return status !== "failed" && status !== "gone";
}

function byIndex(one: DomainStatsRecord, other: DomainStatsRecord): number {
  return one.index - other.index;
}

function domainText(record: DomainStatsRecord): string {
  let text = `Domain: '${record.domain.name}'\n`;
  for (const param of record.params.list()) text += `  ${param.key}=${virshValue(param)}\n`;
  return text;
}

/** A value as virsh prints its type: doubles as C's %lf, booleans as yes and no. */
function virshValue({ type, value }: Param): string {
  if (type === "boolean") return value ? "yes" : "no";
  if (type !== "double") return String(value);
  const number = value as number;
  if (Number.isNaN(number)) return "nan";
  if (!Number.isFinite(number)) return number > 0 ? "inf" : "-inf";
  return Math.abs(number) < 1e21 ? number.toFixed(6) : `${BigInt(number)}.000000`;
}
