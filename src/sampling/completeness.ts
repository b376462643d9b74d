import { hostNames, mayHaveHost, selectedHosts } from "../driver/matcher.ts";
import type { Feed } from "./feed.ts";

/**
 * True if a feed knows the domains of all hosts that it is about and that can be reached: each has been swept once. Also when the
 * query selects none of the hosts.
 */
export function isComplete(feed: Feed): boolean {
  return isExcluded(feed) || (feed.sync !== undefined && everyHostAccounted(feed));
}

/** True if each host of a feed has been swept once, or cannot be reached. */
export function isAccounted(feed: Feed): boolean {
  const statuses = [...feed.statuses];
  if (isExcluded(feed) || statuses.some(({ host }) => host === undefined)) return true;
  return (feed.sync !== undefined || statuses.length > 0) && everyHostAccounted(feed);
}

function isExcluded({ scope }: Feed): boolean {
  return scope !== undefined && !mayHaveHost(scope.source.host, scope.patterns);
}

function everyHostAccounted({ scope, swept, statuses }: Feed): boolean {
  if (!scope?.pushed) return true;
  // A status may be about several hosts behind one source.
  const absent = new Set([...statuses].flatMap(({ host = "" }) => hostNames(host)));
  return selectedHosts(scope.source.host, scope.patterns).every((host) => swept.has(host) || absent.has(host));
}
