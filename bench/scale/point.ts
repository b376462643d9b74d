/** Subscribers that watch all domains, or one each. */
export interface Subscribers {
  readonly count: number;
  readonly intervalMs: number;
  /** True: the subscribers get JSON objects instead of columns. */
  readonly json?: boolean;
  /** Default: sample. */
  readonly mode?: "sample" | "on-change";
  /** How many different queries the subscribers have. Default: 1, the same query for all. */
  readonly queries?: number;
  /** True: each subscriber watches a domain of its own, instead of all domains. */
  readonly guests?: boolean;
}

/** One load that is measured. */
export interface Point {
  readonly name: string;
  /** How many servers, of one host each, the measured server reads. 0: it has the simulated host itself. */
  readonly hosts: number;
  /** The number of domains of all hosts together. */
  readonly domains: number;
  /** The devices of a domain, as in the URI of the simulated host. Default: 2 of each. */
  readonly shape?: string;
  readonly subscribers: Subscribers;
  /**
   * How many requests for /metrics are made in each measurement. The listener that answers them has a watch with an
   * interval of 5 s.
   */
  readonly scrapes?: number;
  /** True: the subscribers connect over TLS. */
  readonly tls?: boolean;
  /** True: the process has V8's own limit of the heap of young objects, instead of the limit in systemd's unit file. */
  readonly largeHeap?: boolean;
}

const everySecond = (count: number): Subscribers => ({ count, intervalMs: 1_000 });
const devices = (count: number): string => `vcpus=2&disks=${count}&nics=${count}`;
const SIZES = [100, 1_000, 5_000, 20_000];

/** The loads of which the documents have figures. */
export const POINTS: readonly Point[] = [
  ...[0, 1, 10, 50].flatMap((hosts) =>
    SIZES.map((domains) => ({
      name: `domains-${domains}-hosts-${hosts}`,
      ...{ hosts, domains, subscribers: everySecond(1) },
    })),
  ),
  { name: "idle-hosts-1", hosts: 1, domains: 1, subscribers: everySecond(1) },
  { name: "idle-hosts-50", hosts: 50, domains: 50, subscribers: everySecond(1) },
  { name: "idle-hosts-200", hosts: 200, domains: 200, subscribers: everySecond(1) },
  { name: "hosts-500", hosts: 500, domains: 20_000, subscribers: everySecond(1) },
  { name: "hosts-500-10s", hosts: 500, domains: 20_000, subscribers: { count: 1, intervalMs: 10_000 } },
  { name: "devices-1", hosts: 10, domains: 1_000, shape: devices(1), subscribers: everySecond(1) },
  { name: "devices-4", hosts: 10, domains: 1_000, shape: devices(4), subscribers: everySecond(1) },
  { name: "devices-16", hosts: 10, domains: 1_000, shape: devices(16), subscribers: everySecond(1) },
  ...[10, 100, 1_000].map((count) => ({
    name: `subscribers-${count}`,
    ...{ hosts: 10, domains: 1_000, subscribers: everySecond(count) },
  })),
  ...[1, 50].map((hosts) => ({
    name: `subscribers-100-hosts-${hosts}`,
    ...{ hosts, domains: 1_000, subscribers: everySecond(100) },
  })),
  { name: "subscribers-100-domains-100", hosts: 10, domains: 100, subscribers: everySecond(100) },
  { name: "subscribers-100-domains-5000", hosts: 10, domains: 5_000, subscribers: everySecond(100) },
  { name: "subscribers-1-10s", hosts: 10, domains: 1_000, subscribers: { count: 1, intervalMs: 10_000 } },
  { name: "subscribers-1000-10s", hosts: 10, domains: 1_000, subscribers: { count: 1_000, intervalMs: 10_000 } },
  ...[1, 10, 100].map((count) => ({
    name: `json-${count}`,
    ...{ hosts: 10, domains: 1_000, subscribers: { ...everySecond(count), json: true } },
  })),
  { name: "on-change-1", hosts: 10, domains: 1_000, subscribers: { ...everySecond(1), mode: "on-change" } },
  { name: "on-change-100", hosts: 10, domains: 1_000, subscribers: { ...everySecond(100), mode: "on-change" } },
  ...[2, 4, 8].map((queries) => ({
    name: `queries-${queries}`,
    ...{ hosts: 10, domains: 1_000, subscribers: { ...everySecond(queries), queries } },
  })),
  { name: "guests-100", hosts: 10, domains: 1_000, subscribers: { ...everySecond(100), guests: true } },
  ...[100, 1_000, 5_000, 20_000].map((domains) => ({
    name: `scrapes-${domains}`,
    ...{ hosts: 10, domains, subscribers: { count: 0, intervalMs: 5_000 }, scrapes: 4 },
  })),
  { name: "tls-100", hosts: 10, domains: 1_000, subscribers: everySecond(100), tls: true },
  { name: "large-heap", hosts: 50, domains: 20_000, subscribers: everySecond(1), largeHeap: true },
  // These points are not used for the slopes. What the slopes predict is compared with them.
  { name: "check-lab", hosts: 3, domains: 60, subscribers: everySecond(5) },
  { name: "check-50x40", hosts: 50, domains: 2_000, subscribers: { count: 20, intervalMs: 10_000 } },
  { name: "check-500x40", hosts: 500, domains: 20_000, subscribers: { count: 20, intervalMs: 10_000 } },
];
