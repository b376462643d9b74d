import { SweepTally } from "../../driver/tally.ts";
import type { Tick } from "../../drivers/nats/tick.ts";
import type { VirstreamError } from "../../model/error.ts";
import { type Domain, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import type { SyncEvent } from "../../model/watch.ts";

/** The functions of the publisher that a HostOutlet uses to encode, send and store its messages. */
export interface Sender {
  /** True if there is a connection to NATS. */
  readonly isConnected: boolean;
  /** True if a stream retains ticks, so that the server must acknowledge each tick. */
  readonly retains: boolean;
  /** Makes the messages of a tick. */
  encode(tick: Omit<Tick, "hypervisor" | "intervalMs">, sequence: number): readonly Uint8Array[];
  /** Publishes a tick, without an acknowledgement. */
  publish(host: string, chunks: readonly Uint8Array[]): void;
  /** Publishes a tick to the stream. Rejects if it was not stored. */
  retain(host: string, chunks: readonly Uint8Array[], sequence: number): Promise<void>;
  /** Stores the newest tick of a host in the bucket, as the host's state. Rejects if it was not stored. */
  save(host: string, chunks: readonly Uint8Array[]): Promise<void>;
  /** Reserves memory for a tick that waits; a negative number frees memory. Returns false if there is no room. */
  reserve(bytes: number): boolean;
  /** Counts a tick that was not published. */
  dropped(): void;
}

interface Waiting {
  readonly sequence: number;
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

/**
 * Publishes the ticks of one host: keeps its newest records, and sends them at the end of each sweep. Every sweep has a
 * sequence number, even if it cannot be sent, so that readers see how many sweeps they miss.
 */
export class HostOutlet {
  readonly host: string;
  readonly #sender: Sender;
  readonly #records = new Map<string, DomainStatsRecord>();
  /** The records of domains that were gone when the sweep under way asked for them. */
  #gone: DomainStatsRecord[] = [];
  #sequence = 0;
  #newest: readonly Uint8Array[] | undefined;
  /** The newest tick, if it was not sent because there was no connection. */
  #unsent: readonly Uint8Array[] | undefined;
  #isSaved = true;
  #saving = false;
  /** Ticks that the server has not acknowledged, in their order. */
  readonly #waiting: Waiting[] = [];
  #retaining = false;
  /** The error if the host cannot be swept. */
  #error: VirstreamError | undefined;

  constructor(host: string, sender: Sender) {
    this.host = host;
    this.#sender = sender;
  }

  record(record: DomainStatsRecord): void {
    if (record.status === "gone") this.#gone.push(record);
    else this.#records.set(domainKey(record.domain), record);
  }

  gone(domain: Domain): void {
    this.#records.delete(domainKey(domain));
  }

  /** Publishes a sweep that has ended. */
  sync({ overrun, summary }: SyncEvent): void {
    this.#error = undefined;
    const records = [...this.#records.values(), ...this.#gone];
    this.#gone = [];
    // The summary may cover other hosts of the source, so this counts the host's own records.
    const tally = new SweepTally(summary.startedAt);
    tally.add(records);
    this.#send({ host: this.host, records, summary: tally.summary(summary.tookMs), error: undefined, overrun });
  }

  /**
   * Takes the error if the host cannot be swept, and undefined if it can be swept again. Until the next sweep, the last
   * records stay in the host's published state.
   */
  status(error: VirstreamError | undefined): void {
    this.#error = error;
    if (error !== undefined) this.repeat();
  }

  /** Called when an interval has passed. If the host cannot be swept, publishes its error again. */
  repeat(): void {
    const error = this.#error;
    if (error === undefined) return;
    this.#send({ host: this.host, records: [...this.#records.values()], summary: undefined, error, overrun: 0 });
  }

  /** Called when the connection is there again: sends and stores what could not be sent. */
  resume(): void {
    if (this.#unsent !== undefined) this.#sender.publish(this.host, this.#unsent);
    this.#unsent = undefined;
    void this.#save();
    void this.#retain();
  }

  #send(tick: Omit<Tick, "hypervisor" | "intervalMs">): void {
    const chunks = this.#sender.encode(tick, ++this.#sequence);
    this.#newest = chunks;
    this.#isSaved = false;
    if (this.#sender.retains) this.#enqueue(chunks);
    else if (this.#sender.isConnected) this.#sender.publish(this.host, chunks);
    else {
      if (this.#unsent !== undefined) this.#sender.dropped();
      this.#unsent = chunks;
    }
    void this.#save();
  }

  /** Stores the newest state. Of the states that come while it stores one, it then stores only the newest. */
  async #save(): Promise<void> {
    if (this.#saving) return;
    this.#saving = true;
    while (!this.#isSaved && this.#sender.isConnected) {
      this.#isSaved = true;
      // The sender reports a failure, and the next tick is another attempt.
      await this.#sender.save(this.host, this.#newest!).catch(() => {});
    }
    this.#saving = false;
  }

  #enqueue(chunks: readonly Uint8Array[]): void {
    const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
    while (!this.#sender.reserve(bytes)) {
      // While `#retain` runs, it is sending the first tick, so this tick stays.
      const [oldest] = this.#waiting.splice(this.#retaining ? 1 : 0, 1);
      if (oldest === undefined) {
        this.#sender.dropped();
        return;
      }
      this.#sender.reserve(-oldest.bytes);
      this.#sender.dropped();
    }
    this.#waiting.push({ sequence: this.#sequence, chunks, bytes });
    void this.#retain();
  }

  async #retain(): Promise<void> {
    if (this.#retaining) return;
    this.#retaining = true;
    while (this.#waiting.length > 0 && this.#sender.isConnected) {
      const { sequence, chunks, bytes } = this.#waiting[0]!;
      const error = await this.#sender.retain(this.host, chunks, sequence).then(
        () => undefined,
        (thrown: VirstreamError) => thrown,
      );
      // A tick that is too big is dropped, because the server will never take it. After any other error, this tick is
      // sent again when the next tick comes.
      if (error?.code === "message-too-big") this.#sender.dropped();
      else if (error !== undefined) break;
      this.#waiting.shift();
      this.#sender.reserve(-bytes);
    }
    this.#retaining = false;
  }
}
