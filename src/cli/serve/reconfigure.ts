import type { Connection } from "../../client/connection.ts";
import { FleetConnection } from "../../client/fleet.ts";
import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";
import type { VirstreamServer } from "../../server/index.ts";
import { resolveUri } from "../source.ts";
import { type Configuration, SOURCES } from "./config-file.ts";
import type { ServeLog } from "./log.ts";
import type { Secrets } from "./secrets.ts";

/** The keys whose values are files that are read again, and those that servers take while they serve. */
const FILES = ["tokens", "token-file", "tls-cert", "tls-key", "tls-client-ca"];
const ORIGIN = "origin";

/** Takes what can change while servers serve from a configuration that was read again. */
export class Reconfiguration {
  readonly #first: Configuration;
  /** The sources that are open now. */
  readonly #sources: Set<string>;

  readonly #log: ServeLog;

  /** @param configuration that of the start */
  constructor(configuration: Configuration, log: ServeLog) {
    this.#log = log;
    this.#first = configuration;
    this.#sources = new Set(configuration.args.uris.map((uri) => resolveUri(uri)));
  }

  /**
   * Takes it; the files that it names are read after that. Hosts are added and removed in the background. Returns the keys that differ
   * and need a restart.
   */
  take(now: Configuration, secrets: Secrets, servers: readonly VirstreamServer[], connection: Connection): string[] {
    const before = this.#first.values;
    const keys = [...new Set([...Object.keys(before), ...Object.keys(now.values)])];
    const changed = keys.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(now.values[key]));
    for (const server of servers) server.admitOrigins(now.args.origins);
    const hasFiles = secrets.replaceFiles(now.args);
    const hasSources = connection instanceof FleetConnection && now.args.uris.length > 0;
    if (hasSources) this.#changeSources(connection, new Set(now.args.uris.map((uri) => resolveUri(uri))));
    const taken = [ORIGIN, ...(hasFiles ? FILES : []), ...(hasSources ? [SOURCES] : [])];
    return changed.filter((key) => !taken.includes(key));
  }

  #changeSources(fleet: FleetConnection, wanted: ReadonlySet<string>): void {
    const open = this.#sources;
    const added = [...wanted].filter((uri) => !open.has(uri));
    const removed = [...open].filter((uri) => !wanted.has(uri));
    const add = async (uri: string): Promise<boolean> => {
      open.add(uri);
      const isAdded = await this.#attempt("added", uri, fleet.add(uri));
      if (!isAdded) open.delete(uri);
      return isAdded;
    };
    const remove = async (uri: string): Promise<void> => {
      open.delete(uri);
      if (!(await this.#attempt("removed", uri, fleet.remove(uri)))) open.add(uri);
    };
    // What was misspelt must not end what is served. And the last host cannot be removed.
    void Promise.all(added.map(add)).then((results) => {
      if (results.every((isAdded) => isAdded)) return Promise.all(removed.map(remove));
      const sources = removed.map(withoutSecrets);
      if (sources.length > 0)
        this.#log.say("reload-failed", `${sources.join(", ")}: kept, because of the error above`, { sources });
    });
  }

  /** Says what comes of it. Returns false if it failed. */
  async #attempt(what: "added" | "removed", uri: string, work: Promise<void>): Promise<boolean> {
    const source = withoutSecrets(uri);
    try {
      await work;
      // The connection reports what was removed.
      if (what === "added") this.#log.say("source-added", `${source}: added`, { source });
      return true;
    } catch (thrown) {
      const { code, message } = VirstreamError.from(thrown);
      if (code === "connection-closed") return false;
      this.#log.say("reload-failed", `${source} could not be ${what}: ${message} [${code}]`, { source, code });
      return false;
    }
  }
}
