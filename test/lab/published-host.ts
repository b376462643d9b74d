import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { type NatsPublisher, type PublishOptions, publish } from "../../src/outlets/nats/publisher.ts";

/** A simulated host that is published, and what its sweeps were. */
export class PublishedHost implements AsyncDisposable {
  readonly name: string;
  /** When each sweep began that was published, or could have been, in ms since 1970. */
  readonly sweeps: number[] = [];
  readonly publisher: NatsPublisher;
  readonly #connection: Connection;
  readonly #unlisten: () => void;

  private constructor(name: string, connection: Connection, publisher: NatsPublisher, intervalMs: number) {
    this.name = name;
    this.#connection = connection;
    this.publisher = publisher;
    // Equal watches share their sweeps.
    const watch = connection.watch({}, { intervalMs }).events.subscribe((event) => {
      if (event.type === "sync") this.sweeps.push(event.summary.startedAt);
    });
    this.#unlisten = () => watch.unsubscribe();
  }

  /** @param uri the parameters of the simulated host */
  static async start(
    name: string,
    options: PublishOptions & { readonly intervalMs: number },
    uri = "domains=6",
  ): Promise<PublishedHost> {
    const connection = await connect(`test:///default?host=${name}&${uri}`);
    const publisher = await publish(connection, options);
    return new PublishedHost(name, connection, publisher, options.intervalMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unlisten();
    await this.publisher.close();
    await this.#connection.close();
  }
}

/**
 * The account of one host in a watch: each sweep that was made is either delivered, once and in order, or in a gap of the right
 * length.
 */
export class HostAccount {
  /** When the sweeps began that were delivered. */
  readonly delivered: number[] = [];
  readonly gaps: WatchEvent[] = [];
  readonly statuses: string[] = [];
  /** Sweeps that gaps covered. */
  skipped = 0;
  /** What is wrong. */
  readonly broken: string[] = [];
  readonly #host: Pick<PublishedHost, "name" | "sweeps">;
  readonly #sampledAt = new Map<string, number>();
  /** Sweeps covered since the last sync; undefined: an unknown number. */
  #covered: number | undefined = 0;
  #domains = 0;

  constructor(host: Pick<PublishedHost, "name" | "sweeps">) {
    this.#host = host;
  }

  take(event: WatchEvent): void {
    const { name, sweeps } = this.#host;
    if (event.type === "record") {
      const { domain, sampledAt } = event.record;
      if (domain.host !== name) return;
      const before = this.#sampledAt.get(domain.uuid) ?? 0;
      if (sampledAt <= before) this.broken.push(`${domain.name} of ${sampledAt} after ${before}`);
      this.#sampledAt.set(domain.uuid, sampledAt);
      this.#domains++;
    } else if (event.type === "status" && event.host === name) {
      this.statuses.push(event.state);
    } else if (event.type === "gap" && (event.host ?? name) === name) {
      this.gaps.push(event);
      this.skipped += event.skipped ?? 0;
      this.#covered =
        this.#covered === undefined || event.skipped === undefined ? undefined : this.#covered + event.skipped;
    } else if (event.type === "sync" && event.host === name) {
      const { startedAt, domains } = event.summary;
      const last = this.delivered.at(-1);
      const [from, to] = [sweeps.indexOf(last ?? -1), sweeps.indexOf(startedAt)];
      if (domains !== this.#domains) this.broken.push(`${this.#domains} records of ${domains}`);
      if (from >= 0 && to >= 0 && this.#covered !== undefined && to - from - 1 !== this.#covered) {
        this.broken.push(`sweep ${to} after sweep ${from}, and gaps of ${this.#covered}`);
      }
      this.delivered.push(startedAt);
      this.#covered = 0;
      this.#domains = 0;
    }
  }
}
