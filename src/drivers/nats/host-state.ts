import { VirstreamError } from "../../model/error.ts";
import type { SchemaTable } from "../../model/schema-table.ts";
import { ServerClock } from "../../wire/server-clock.ts";
import { Assembler, type Chunk, readChunk, type WaitingBytes } from "./chunk.ts";
import { readTick, type Tick } from "./tick.ts";

/**
 * A host is silent when no tick has come for SILENT_INTERVALS of its intervals and SILENT_MS more, because a sweep
 * takes time.
 */
const SILENT_INTERVALS = 3;
const SILENT_MS = 2_000;
/**
 * To recognize late messages, a host's state remembers at most MAX_LOST sequences of lost ticks, and at most
 * MAX_RETIRED earlier epochs.
 */
const MAX_LOST = 1_024;
const MAX_RETIRED = 16;

/**
 * The kind of a message. `tick`: it completed a newer tick. After all other kinds, the newest tick is the same as
 * before.
 */
export type Outcome =
  | "tick"
  /** A chunk, whose tick is not complete yet. */
  | "waiting"
  /** A chunk of a tick that was complete before this chunk came. */
  | "duplicate"
  /** A chunk of a tick that was reported as lost, because a newer tick had come before the chunk. */
  | "late"
  /** A chunk from before the publisher's last start. */
  | "stale"
  /** A chunk of an incomplete tick, after chunks of a newer tick have come: it is dropped. */
  | "incomplete"
  /** Not a message of this version, or not of this host. */
  | "refused";

/** Ticks of a host that did not arrive: their number, or undefined if it is not known. */
export interface Lost {
  readonly skipped: number | undefined;
}

/** The state of one host: its newest tick, and facts about earlier ticks. */
export class HostState {
  readonly host: string;
  /** A number that no other host of the fleet has. */
  readonly number: number;
  /** The newest tick. */
  tick: Tick | undefined;
  /** The ticks that were lost just before the newest tick, if there are any. */
  lost: Lost | undefined;
  /** When the newest tick was published, on this process's steady clock. */
  heardAt = Number.NEGATIVE_INFINITY;
  /** The error of the last message since the newest tick that could not be read; undefined: there was none. */
  refusal: VirstreamError | undefined;
  readonly #context: { readonly owner: object; readonly schemas: SchemaTable };
  readonly #clock: ServerClock;
  readonly #assembler: Assembler;
  #ageMs = 0;
  #epoch: string | undefined;
  #sequence = 0;
  /** The earlier epochs, with the last sequence of each. */
  readonly #retired = new Map<string, number>();
  readonly #lostSequences = new Set<number>();
  /** When a publisher that uses this host's name, and has an earlier epoch, last published, on the steady clock. */
  #rivalAt = Number.NEGATIVE_INFINITY;

  constructor(
    host: string,
    number: number,
    context: { readonly owner: object; readonly schemas: SchemaTable },
    waiting: WaitingBytes,
  ) {
    this.host = host;
    this.number = number;
    this.#context = context;
    this.#clock = new ServerClock(() => performance.now() - this.#ageMs);
    this.#assembler = new Assembler(waiting);
  }

  /** True if some chunks of a tick have come, and other chunks of it have not. */
  get isWaiting(): boolean {
    return this.#assembler.isWaiting;
  }

  /**
   * Takes a message, which may contain any bytes. Only a message that completes a newer tick of this host replaces the
   * newest tick.
   *
   * @param ageMs how long ago the message was published, in ms; 0: it comes directly from the publisher
   */
  take(bytes: Uint8Array, ageMs: number): Outcome {
    try {
      const chunk = readChunk(bytes);
      const order = this.#orderOf(chunk);
      if (order !== "newer") return order;
      const complete = this.#assembler.add(chunk);
      if (typeof complete === "string") return complete;
      this.#ageMs = ageMs;
      const tick = readTick(complete, {
        ...{ host: this.host, epoch: chunk.epoch, clock: this.#clock },
        ...this.#context,
      });
      this.#accept(tick, chunk, performance.now() - ageMs);
      return "tick";
    } catch (thrown) {
      this.refusal = VirstreamError.from(thrown);
      return "refused";
    }
  }

  /**
   * The error if the host's present state is not known, because the host is silent or could not be swept; undefined if
   * it is known.
   */
  errorAt(now: number): VirstreamError | undefined {
    const { tick, host, refusal } = this;
    if (tick === undefined) {
      return refusal === undefined ? undefined : unreadable(host, refusal);
    }
    const silentMs = now - this.heardAt;
    if (silentMs <= this.#silentAfterMs) return tick.error;
    const why = refusal === undefined ? "is its publisher running?" : refusal.message;
    return new VirstreamError(
      "connection-lost",
      `the host ${host} has been silent for ${Math.round(silentMs / 1_000)} s: ${why}`,
    );
  }

  /**
   * The error if two publishers use the name of this host; only the records of the publisher that started last are
   * used.
   */
  conflictAt(now: number): VirstreamError | undefined {
    if (now - this.#rivalAt > this.#silentAfterMs) return undefined;
    const message = `two publishers name their host ${this.host}, so that only the domains of one are known: give one another name with label=`;
    return new VirstreamError("invalid-argument", message, { retryable: true });
  }

  /**
   * Called when the reader's connection was lost, or its process paused. The silence up to now then says nothing about
   * the host, so it does not count.
   */
  excuse(now: number): void {
    if (this.tick !== undefined) this.heardAt = Math.max(this.heardAt, now - this.tick.intervalMs);
  }

  get #silentAfterMs(): number {
    return SILENT_INTERVALS * (this.tick?.intervalMs ?? 0) + SILENT_MS;
  }

  #orderOf({ epoch, sequence }: Chunk): "newer" | "duplicate" | "late" | "stale" {
    if (epoch === this.#epoch) {
      if (sequence > this.#sequence) return "newer";
      return this.#lostSequences.has(sequence) ? "late" : "duplicate";
    }
    const last = this.#retired.get(epoch);
    if (last === undefined) return "newer";
    if (sequence > last) {
      // The publisher of the earlier epoch still publishes. So it was not restarted: it runs beside the newer
      // publisher.
      this.#retired.set(epoch, sequence);
      this.#rivalAt = performance.now();
    }
    return "stale";
  }

  #accept(tick: Tick, { epoch, sequence }: Chunk, at: number): void {
    this.lost = undefined;
    if (this.#epoch === epoch) {
      const skipped = sequence - this.#sequence - 1;
      if (skipped > 0) this.lost = { skipped };
      for (let lost = Math.max(this.#sequence + 1, sequence - MAX_LOST); lost < sequence; lost++) this.#lose(lost);
    } else {
      if (this.#epoch !== undefined) {
        this.lost = { skipped: undefined };
        this.#retired.set(this.#epoch, this.#sequence);
        if (this.#retired.size > MAX_RETIRED) this.#retired.delete(this.#retired.keys().next().value!);
      }
      this.#lostSequences.clear();
    }
    this.#epoch = epoch;
    this.#sequence = sequence;
    this.tick = tick;
    this.refusal = undefined;
    this.heardAt = Math.max(this.heardAt, at);
  }

  #lose(sequence: number): void {
    this.#lostSequences.add(sequence);
    if (this.#lostSequences.size > MAX_LOST) this.#lostSequences.delete(this.#lostSequences.values().next().value!);
  }
}

function unreadable(host: string, refusal: VirstreamError): VirstreamError {
  const message = `no message of the host ${host} could be read: ${refusal.message}`;
  return new VirstreamError("protocol-error", message, { cause: refusal, retryable: true });
}
