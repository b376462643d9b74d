import type { WatchEvent } from "../model/watch.ts";

/** The sweeps of one host. */
interface HostCount {
  syncs: number;
  /** Whether its last sweep had a record that is not `ok`. */
  incomplete: boolean;
  /** Whether it cannot be reached now. */
  absent: boolean;
}

/**
 * Counts the sweeps of a watch, host by host, until each host has had the number wanted. A host counts from the first
 * event that names it. The count does not wait for a host that cannot be reached, unless there is no other.
 */
export class SweepCount {
  readonly #limit: number;
  readonly #hosts = new Map<string, HostCount>();
  /** The connection to all hosts is lost. */
  #lost = false;

  /** @param limit the number of sweeps; Infinity: never done */
  constructor(limit: number) {
    this.#limit = limit;
  }

  take(event: WatchEvent): void {
    switch (event.type) {
      case "record":
        this.#host(event.record.domain.host);
        break;
      case "sync": {
        const host = this.#host(event.host);
        host.syncs++;
        host.incomplete = event.summary.ok < event.summary.domains;
        host.absent = false;
        this.#lost = false;
        break;
      }
      case "status":
        if (event.host === undefined) this.#lost = event.state !== "connected";
        else this.#host(event.host).absent = event.state !== "connected";
        break;
    }
  }

  /** Whether every host that can be reached has had its sweeps. */
  get done(): boolean {
    const there = [...this.#hosts.values()].filter((host) => !host.absent);
    return !this.#lost && there.length > 0 && there.every((host) => host.syncs >= this.#limit);
  }

  /** Whether some host cannot be reached, or its last sweep had a record that is not `ok`. */
  get incomplete(): boolean {
    return this.#lost || [...this.#hosts.values()].some((host) => host.absent || host.incomplete);
  }

  #host(name: string): HostCount {
    const host = this.#hosts.get(name) ?? { syncs: 0, incomplete: false, absent: false };
    this.#hosts.set(name, host);
    return host;
  }
}
