import { PublishedHost } from "../../test/lab/published-host.ts";
import { serveParent } from "./member.ts";

/** Publishes `count` simulated hosts from `first` on. Arguments: URL FIRST COUNT DOMAINS RETAIN_MS REPLICAS. */
const [url, first, count, domains, retainMs, replicas] = process.argv.slice(2) as [string, ...string[]];
const options = { url, intervalMs: 1_000, retainMs: Number(retainMs), replicas: Number(replicas) };
const hosts = await Promise.all(
  Array.from({ length: Number(count) }, (_, i) =>
    PublishedHost.start(`hv${Number(first) + i}`, options, `domains=${domains}`),
  ),
);
serveParent(() => Object.fromEntries(hosts.map(({ name, sweeps }) => [name, sweeps])));
