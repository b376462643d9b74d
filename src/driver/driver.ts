import type { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Absent, DomainStatsRecord, Recorded } from "../model/record.ts";
import type { Cadence, WatchSink, WatchState } from "../model/watch.ts";
import type { DescriptionReader, Descriptions } from "./description.ts";
import type { StoragePools } from "./storage-pools.ts";

/** What the consumer of one sweep gives to the driver: a signal, and callbacks. */
export interface SweepContext {
  /** Aborted when the consumer has left. The driver then stops its work and ends the iteration promptly. */
  readonly signal: AbortSignal;
  /** The driver calls it once, as soon as the number of domains is known: progress is measured against this number. */
  expect(domains: number): void;
  /** A driver of several hosts calls it for each host that could not be reached. */
  absent?(host: Absent): void;
}

/**
 * A source of domains: a hypervisor, a simulated hypervisor, or another virstream server. Every driver promises that a
 * sweep yields exactly one record for every domain that matches the query. Each record comes as soon as it is ready,
 * and within the query's deadline, independent of the other domains.
 */
export interface Driver {
  /** The URI with which the driver was opened, without secrets. */
  readonly uri: string;
  /** What kind of hypervisor answers: `qemu`, `test`, … */
  readonly hypervisor: string;
  /**
   * The name of the host whose domains these are. For several hosts, all names with commas between them; a host that
   * has never answered has its URI here. If the driver has its own watch, the watch knows all domains when each of
   * these hosts has had a sync.
   */
  readonly host: string;
  /**
   * Calls the listener at each change of the connection's state, until the returned function is called. There may be
   * several listeners. An exception in a listener becomes an uncaught exception, and does not reach the driver. A
   * driver whose connection cannot be lost does not have this method.
   */
  onStatus?(listener: StatusListener): () => void;
  /**
   * The hosts that cannot be reached at present, by name, with the reason. Only a driver that knows them without a call
   * has this member.
   */
  readonly absent?: readonly Absent[];
  /** The names of the groups that a query may name; undefined when the source permits all. */
  readonly permittedGroups?: readonly string[] | undefined;
  /**
   * The shortest interval of a watch, in ms; undefined when the source accepts any. For several hosts, the longest of
   * their shortest intervals.
   */
  readonly minIntervalMs?: number | undefined;
  /**
   * The span of time that the recording covers. Only for a driver that replays recordings; only such a driver gets
   * queries with `at`.
   */
  readonly recorded?: Recorded | undefined;
  /**
   * Only for a driver that replays recordings: finds out again how far the recordings go, and updates `recorded`,
   * because a recorder may still be writing.
   */
  refresh?(): Promise<void>;
  /** How many calls the hypervisor has not answered yet. Only for a driver that makes such calls itself. */
  readonly unansweredCalls?: number | undefined;
  /** The present state of each host. Only for a driver of several hosts. */
  readonly statuses?: readonly ConnectionStatus[];

  /**
   * One sweep, of the domains that the query selects: by filters, `domains`, `names` and `hosts` (see matcherOf).
   * Yields records in chunks of at least one record, each chunk as soon as its records are ready. The consumer pulls
   * the chunks: between pulls a driver may run ahead only by a bounded amount. If one domain fails, its record says so
   * in its status. The iteration throws (a VirstreamError) only if the whole sweep fails.
   */
  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]>;

  /**
   * Pushes a watch into a sink: the current state, then each change. All records of a sweep come before its sync, whose
   * `tick` may be any number. Only for a driver whose source is already a stream, such as another virstream. The
   * sampler sweeps all other drivers once per interval. A `status` event reports a source that cannot be reached for a
   * while. The sink's `end` is for errors that a retry cannot repair; it may be called before `watch` returns.
   *
   * @returns a function that stops the watch; the sink is not called after that
   */
  watch?(query: Query, cadence: Cadence, sink: WatchSink): () => void;

  /**
   * Begins to read descriptions of the domains: their definitions, and whatever else the reader asks for. Only for a
   * driver that can read them without harm and without delay to its sweeps. It reads only the descriptions that
   * somebody asks for, and stops when the driver or the returned Descriptions are closed.
   */
  describe?<T>(reader: DescriptionReader<T>): Descriptions<T>;
  /**
   * The storage pools of the driver's hosts. Only for a driver that can read them without harm and without delay to its
   * sweeps.
   */
  readonly storagePools?: StoragePools;
  /** The versions of each host's software that the driver knows without a call. */
  readonly versions?: readonly HostVersions[];

  /** Releases everything; sweeps under way end with `connection-closed`. Safe to call twice. */
  close(): Promise<void>;
}

/** The versions of a host's software, each as `9.0.0`. */
export interface HostVersions {
  readonly host: string;
  /** The version of the hypervisor; undefined if it does not report one. */
  readonly hypervisor: string | undefined;
  readonly libvirt: string;
}

/**
 * How a connection that is lost, or that does not open at first, is tried again. With connectAll(), each host is tried
 * again by itself.
 */
export interface ReconnectOptions {
  /**
   * The upper limit of the first random wait, in ms, 1 to 3,600,000. The limit doubles with each further wait. Default
   * 250.
   */
  readonly initialMs?: number;
  /**
   * The greatest upper limit of a wait: the doubling stops there. In ms, 1 to 3,600,000; not less than `initialMs`.
   * Default 30,000, or `initialMs` if that is longer.
   */
  readonly maxMs?: number;
  /**
   * After this many failed attempts in a row, the connection is closed with the last error. 0: a lost connection is not
   * opened again. Default: no limit.
   */
  readonly attempts?: number;
  /**
   * Called with the error of each loss and each failed attempt. If it returns false, the connection is closed with this
   * error; if it throws, with what it throws. By default, a virstream server is tried again after errors that are
   * `retryable`, and a libvirt daemon, or one of several hosts, after every error.
   */
  readonly shouldRetry?: (error: VirstreamError) => boolean;
}

/**
 * How Node opens a WebSocket, for ws: and wss: URIs. In browsers each of these options is refused with
 * `invalid-argument`, because only the browser can decide these things.
 */
export interface SocketOptions {
  /** More headers for the HTTP request that opens the WebSocket, for example for a proxy. Default: none. */
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * The certificates of the authorities to trust for wss:, in PEM, in place of Node's own list. To trust more than that
   * list, set NODE_EXTRA_CA_CERTS. Default: Node's own list.
   */
  readonly ca?: string | Uint8Array;
  /** The client's certificate for wss:, in PEM. Default: none. */
  readonly cert?: string | Uint8Array;
  /** The private key of `cert`, in PEM. Default: none. */
  readonly key?: string | Uint8Array;
  /** False accepts any certificate of the server, and so gives no protection from an attacker. Default true. */
  readonly rejectUnauthorized?: boolean;
  /**
   * An `http.Agent`, or an `https.Agent` for wss:, that opens the sockets, such as one for a proxy. Default: Node's
   * own.
   */
  readonly agent?: object;
}

/** How to open a driver. */
export interface OpenOptions extends SocketOptions {
  /** When this signal is aborted, opening ends. Default: none. */
  readonly signal?: AbortSignal;
  /** How long each attempt may take, in ms, 1 to 2,147,483,647. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /**
   * True keeps trying until the source answers, the signal is aborted, or `reconnect` ends the attempts. Without
   * `reconnect.shouldRetry`, an error that is not `retryable` ends them, too. connectAll() then opens although no host
   * answers yet. Default false: one attempt.
   */
  readonly waitForFirstConnection?: boolean;
  /** How a lost connection is opened again. By default, each member of this object has its default. */
  readonly reconnect?: ReconnectOptions;
  /**
   * The token for a virstream server; sent only to ws: and wss: peers, in the first message. A function is called for
   * each attempt to connect. If the function throws, or gives no token within `connectTimeoutMs`, the attempt fails
   * with `unauthenticated`; this error is retryable. Default: none.
   */
  readonly token?: string | (() => string | Promise<string>);
  /** How many bytes a virstream server may send ahead of the consumer, for each sweep and watch. Default 1 MiB. */
  readonly creditBytes?: number;
}

/** Opens a driver for a URI of its scheme. Rejects with a VirstreamError that says what to do. */
export type OpenDriver = (uri: string, options: OpenOptions) => Promise<Driver>;

/**
 * The state of a connection: a WatchState, or `closed`. `closed` is final: the program closed the connection, or an
 * error occurred that a retry cannot repair.
 */
export type ConnectionState = WatchState | "closed";

/** A change of a connection's state. Later versions may add states and members: ignore those that you do not know. */
export interface ConnectionStatus {
  readonly state: ConnectionState;
  /**
   * The host whose state this is. A driver of several hosts names one of them. But when the whole driver is `closed`,
   * `host` has all names, and there is no `uri`.
   */
  readonly host: string;
  /**
   * Only from a driver of several hosts: the URI of the host, without secrets. For a host that never answered, `host`
   * is this URI, too.
   */
  readonly uri?: string;
  /** Why the host is not connected. Undefined in the states `connected` and `removed`. */
  readonly error: VirstreamError | undefined;
}

/** Called at each change of state, but not with the state at the time when the listener is added. */
export type StatusListener = (status: ConnectionStatus) => void;

/** The listeners that are called when the state of one connection changes. */
export class StatusListeners {
  // A function that is added twice is called twice, and each addition can be removed alone.
  readonly #listeners = new Set<{ readonly listener: StatusListener }>();

  /** Returns a function that removes the listener. */
  add(listener: StatusListener): () => void {
    const added = { listener };
    this.#listeners.add(added);
    return () => {
      this.#listeners.delete(added);
    };
  }

  /**
   * Calls every listener. If a listener throws, the error is thrown again from the event loop, as an uncaught
   * exception. So it reaches neither the caller nor the other listeners. An EventTarget and RxJS subscribers do the
   * same.
   */
  emit(status: ConnectionStatus): void {
    for (const { listener } of [...this.#listeners]) {
      try {
        listener(status);
      } catch (error) {
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}
