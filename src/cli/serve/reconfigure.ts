import type { Connection } from "../../client/connection.ts";
import { FleetConnection } from "../../client/fleet.ts";
import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";
import type { VirstreamServer } from "../../server/index.ts";
import { checkLimits, type ServerLimits } from "../../server/limits.ts";
import { resolveUri } from "../source.ts";
import { type Configuration, LIMITS, SOURCES } from "./config-file.ts";
import type { ServeLog } from "./log.ts";
import type { Secrets } from "./secrets.ts";

/**
 * The keys of a configuration file that name other files. At a reload, new values of these keys take effect, and the
 * files are read again.
 */
const FILES = ["tokens", "token-file", "tls-cert", "tls-key", "tls-client-ca"];
const ORIGIN = "origin";
/**
 * The limit that cannot change while a server listens: Node takes the timeout of TLS handshakes when the server starts.
 */
const HELLO_TIMEOUT = "helloTimeoutMs";

/** Applies those parts of a newly read configuration that can change while servers serve. */
export class Reconfiguration {
  readonly #first: Configuration;
  /** The sources that are open now. */
  readonly #sources: Set<string>;

  readonly #log: ServeLog;
  /** The limits that were read last. */
  #limits: Configuration["limits"];

  /** @param configuration the configuration with which the servers started */
  constructor(configuration: Configuration, log: ServeLog) {
    this.#log = log;
    this.#first = configuration;
    this.#limits = configuration.limits;
    this.#sources = new Set(configuration.args.uris.map((uri) => resolveUri(uri)));
  }

  /**
   * Applies a configuration. The caller then reads the files that the configuration names. Hosts are added and removed
   * in the background. Returns the changed keys that need a restart.
   */
  take(now: Configuration, secrets: Secrets, servers: readonly VirstreamServer[], connection: Connection): string[] {
    const before = this.#first.values;
    const keys = [...new Set([...Object.keys(before), ...Object.keys(now.values)])];
    const changed = keys.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(now.values[key]));
    for (const server of servers) {
      server.admitOrigins(now.args.origins);
      server.limit(now.limits);
    }
    const limits = this.#changeLimits(now);
    const hasFiles = secrets.replaceFiles(now.args);
    const hasSources = connection instanceof FleetConnection && now.args.uris.length > 0;
    if (hasSources) this.#changeSources(connection, new Set(now.args.uris.map((uri) => resolveUri(uri))));
    const taken = [ORIGIN, LIMITS, ...(hasFiles ? FILES : []), ...(hasSources ? [SOURCES] : [])];
    return [...changed.filter((key) => !taken.includes(key)), ...limits];
  }

  /** Logs which limits have other values now. Returns the keys of the limits that need a restart. */
  #changeLimits({ limits }: Configuration): string[] {
    const [before, now] = [checkLimits(this.#limits), checkLimits(limits)];
    const names = Object.keys(now) as (keyof ServerLimits)[];
    const changed = names.filter((name) => name !== HELLO_TIMEOUT && now[name] !== before[name]);
    this.#limits = limits;
    if (changed.length > 0) {
      const values = changed.map((name) => `${name} ${now[name]}`).join(", ");
      const fields = { limits: Object.fromEntries(changed.map((name) => [name, now[name]])) };
      this.#log.say("limits-read", `limits of what clients begin from now on: ${values}`, fields);
    }
    const isOther = now[HELLO_TIMEOUT] !== checkLimits(this.#first.limits)[HELLO_TIMEOUT];
    return isOther ? [`${LIMITS}.${HELLO_TIMEOUT}`] : [];
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
    // Hosts are removed only after all new ones were added: a misspelt URI must not end the service, and the last host
    // cannot be removed.
    void Promise.all(added.map(add)).then((results) => {
      if (results.every((isAdded) => isAdded)) return Promise.all(removed.map(remove));
      const sources = removed.map(withoutSecrets);
      if (sources.length > 0)
        this.#log.say("reload-failed", `${sources.join(", ")}: kept, because of the error above`, { sources });
    });
  }

  /** Waits for an attempt to add or remove a source, and logs the result. Returns false if the attempt failed. */
  async #attempt(what: "added" | "removed", uri: string, work: Promise<void>): Promise<boolean> {
    const source = withoutSecrets(uri);
    try {
      await work;
      // The connection itself reports removed hosts.
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
