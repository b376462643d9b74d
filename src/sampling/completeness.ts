import { hostNames, mayHaveHost, selectedHosts } from "../driver/matcher.ts";
import type { Feed } from "./feed.ts";

/**
 * True if each host that can be reached has been swept once, so that the feed knows the domains of these hosts. Also
 * true if the query selects no host.
 */
export function isComplete(feed: Feed): boolean {
  return isExcluded(feed) || (feed.sync !== undefined && everyHostAccounted(feed));
}

/** True if each host of a feed has been swept once or cannot be reached. */
export function isAccounted(feed: Feed): boolean {
  const statuses = [...feed.statuses];
  if (isExcluded(feed) || statuses.some(({ host }) => host === undefined)) return true;
  return (feed.sync !== undefined || statuses.length > 0) && everyHostAccounted(feed);
}

function isExcluded({ scope }: Feed): boolean {
  return scope?.patterns !== undefined && !mayHaveHost(scope.source.host, scope.patterns);
}

/**
 * The last result of everyHostAccounted for each feed. The result is needed for each event of each host, so most calls
 * must not look at all hosts of the feed.
 */
const answers = new WeakMap<Feed, { readonly host: string; readonly changes: number; readonly accounted: boolean }>();

function everyHostAccounted(feed: Feed): boolean {
  const { scope, hostChanges: changes } = feed;
  if (!scope?.pushed) return true;
  const { host } = scope.source;
  const last = answers.get(feed);
  if (last?.host === host && last.changes === changes) return last.accounted;
  const accounted = accounts(feed, selectedHosts(host, scope.patterns));
  answers.set(feed, { host, changes, accounted });
  return accounted;
}

function accounts({ swept, statuses }: Feed, hosts: readonly string[]): boolean {
  // One status may name several hosts that share one source.
  const absent = new Set([...statuses].flatMap(({ host = "" }) => hostNames(host)));
  return hosts.every((host) => swept.has(host) || absent.has(host));
}
