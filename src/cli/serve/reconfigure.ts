import type { VirstreamServer } from "../../server/index.ts";
import type { Configuration } from "./config-file.ts";
import type { Secrets } from "./secrets.ts";

/** The keys whose values are files that are read again, or that servers take while they serve. */
const FILES = ["tokens", "token-file", "tls-cert", "tls-key", "tls-client-ca"];
const ORIGIN = "origin";

/**
 * Takes what can change while servers serve from a configuration that was read again; the files themselves are read after that. Returns the keys
 * that differ and need a restart.
 */
export function reconfigure(
  before: Configuration,
  now: Configuration,
  secrets: Secrets,
  servers: readonly VirstreamServer[],
): string[] {
  const keys = [...new Set([...Object.keys(before.values), ...Object.keys(now.values)])];
  const changed = keys.filter((key) => JSON.stringify(before.values[key]) !== JSON.stringify(now.values[key]));
  for (const server of servers) server.admitOrigins(now.args.origins);
  const hasFiles = secrets.replaceFiles(now.args);
  return changed.filter((key) => key !== ORIGIN && !(hasFiles && FILES.includes(key)));
}
