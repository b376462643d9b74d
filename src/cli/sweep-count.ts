import type { WatchEvent } from "../model/watch.ts";

/** What is known of a host that is watched. */
interface HostCount {
  syncs: number;
  /** Whether its last sweep had a record that is not whole. */
  incomplete: boolean;
  /** It cannot be reached at present, and is not waited for. */
  absent: boolean;
}

/**
 * Counts the sweeps of a watch, host by host, until each has had so many. A host counts from the first event that names
 * it; one that cannot be reached is not waited for, unless there is no other.
 */
export class SweepCount {
  readonly #limit: number;
  readonly #hosts = new Map<string, HostCount>();
  /** The way to all hosts is lost. */
  #cut = false;

  /** @param limit how many sweeps; Infinity: it is never done */
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
        this.#cut = false;
        break;
      }
      case "status":
        if (event.host === undefined) this.#cut = event.state !== "connected";
        else this.#host(event.host).absent = event.state !== "connected";
        break;
    }
  }

  /** Whether every host that is there has had its sweeps. */
  get done(): boolean {
    const there = [...this.#hosts.values()].filter((host) => !host.absent);
    return !this.#cut && there.length > 0 && there.every((host) => host.syncs >= this.#limit);
  }

  /** Whether some host is absent, or its last sweep had a record that is not whole. */
  get incomplete(): boolean {
    return this.#cut || [...this.#hosts.values()].some((host) => host.absent || host.incomplete);
  }

  #host(name: string): HostCount {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = { syncs: 0, incomplete: false, absent: false };
      this.#hosts.set(name, host);
    }
    return host;
  }
}
