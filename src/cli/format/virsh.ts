import type { Param } from "../../model/params.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { WatchEvent } from "../../model/watch.ts";
import type { RecordFormat } from "./record-format.ts";
import type { WatchFormat } from "./watch-format.ts";

/**
 * What `virsh domstats` prints, byte for byte. It has no word for a domain that failed: those are left out, as virsh
 * leaves them out. virsh prints in the order of the host's listing, records come as they are ready: one that is early
 * waits for those before it.
 */
export class VirshFormat implements RecordFormat {
  #next = 0;
  #first = true;
  readonly #early = new Map<number, DomainStatsRecord>();

  begin(): string {
    return "";
  }

  record(record: DomainStatsRecord): string {
    this.#early.set(record.index, record);
    let text = "";
    for (let due = this.#early.get(this.#next); due !== undefined; due = this.#early.get(this.#next)) {
      text += this.#print(due);
      this.#early.delete(this.#next++);
    }
    return text;
  }

  end(): string {
    const rest = [...this.#early.values()].sort(byIndex);
    return `${rest.map((record) => this.#print(record)).join("")}\n`;
  }

  #print(record: DomainStatsRecord): string {
    if (!isPrinted(record)) return "";
    const separator = this.#first ? "" : "\n";
    this.#first = false;
    return separator + domainText(record);
  }
}

/**
 * What `virsh domstats` prints, again and again: once per sweep of a host, at its end, in the order of the host's listing.
 */
export class VirshWatchFormat implements WatchFormat {
  readonly tellsAll = false;
  readonly #sweeps = new Map<string, Map<string, DomainStatsRecord>>();

  event(event: WatchEvent): string {
    switch (event.type) {
      case "record": {
        const { host, uuid } = event.record.domain;
        let sweep = this.#sweeps.get(host);
        if (sweep === undefined) {
          sweep = new Map();
          this.#sweeps.set(host, sweep);
        }
        // A sweep may be cut short and taken up anew: of two records the newer counts.
        sweep.set(uuid, event.record);
        return "";
      }
      case "sync": {
        const records = [...(this.#sweeps.get(event.host)?.values() ?? [])].filter(isPrinted).sort(byIndex);
        this.#sweeps.delete(event.host);
        return `${records.map(domainText).join("\n")}\n`;
      }
      default:
        return "";
    }
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
