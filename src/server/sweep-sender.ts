import { setImmediate as turn } from "node:timers/promises";
import { withTimeout } from "../driver/clock.ts";
import type { Driver } from "../driver/driver.ts";
import { SweepTally } from "../driver/tally.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { SweepMetrics } from "../sampling/metrics.ts";
import type { Enter } from "../sampling/sampling.ts";
import { RowBatch } from "../wire/columns/row-batch.ts";
import { Coalescer, CreditAccount } from "../wire/flow-control.ts";
import { recycle } from "../wire/pack.ts";
import { PATIENT_CLOCK } from "./bounds/patient-clock.ts";
import type { Outbound } from "./outbound.ts";

/** The options of a SweepSender. */
interface SweepSenderOptions {
  readonly id: number;
  readonly query: Query;
  /** The initial credit in bytes; undefined: no limit. */
  readonly credit: number | undefined;
  readonly driver: Driver;
  readonly metrics: SweepMetrics;
  readonly outbound: Outbound;
  readonly progressTimeoutMs: number;
  /** Delays the sweep until the client's turn. */
  readonly enter: Enter;
}

/**
 * Sends one sweep to one client. It pulls records from the driver and collects them into messages. It sends a message
 * when the coalescer, the client's credit and the socket's high-water mark allow it. Until then it does not pull, so a
 * slow client slows down the driver, and no records accumulate here.
 */
export class SweepSender {
  readonly #options: SweepSenderOptions;
  readonly #credit: CreditAccount;
  readonly #abort = new AbortController();
  readonly #tally = new SweepTally(Date.now());
  readonly #batch = new RowBatch();
  readonly #coalescer = new Coalescer(() => performance.now());
  #timer: NodeJS.Timeout | undefined;
  #begun = false;
  #wakeOpen: (() => void) | undefined;
  #error: VirstreamError | undefined;

  constructor(options: SweepSenderOptions) {
    this.#options = options;
    this.#credit = new CreditAccount(options.credit);
  }

  /** @throws VirstreamError `protocol-error` for credit beyond the limit */
  grant(bytes: number): void {
    this.#credit.grant(bytes);
    this.#opened();
  }

  /** Ends the sweep early: with an error, or because the client cancelled it or its connection was closed. */
  stop(error?: VirstreamError): void {
    if (this.#abort.signal.aborted) return;
    this.#error ??= error;
    this.#abort.abort();
    this.#wakeOpen?.();
  }

  /** Runs the sweep until its `end` is sent. Never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#abort;
    const { driver, query } = this.#options;
    await this.#turn();
    const began = performance.now();
    const done = this.#options.metrics.began();
    const unlisten = this.#options.outbound.onWritable(() => this.#opened());
    try {
      const expect = (domains: number): void => this.#begin(domains);
      const absent = this.#tally.addAbsent;
      for await (const records of signal.aborted ? [] : driver.sweep(query, { signal, expect, absent })) {
        if (signal.aborted) break;
        this.#tally.add(records);
        this.#options.metrics.records(records);
        for (const record of records) {
          this.#batch.add(undefined, record);
          if (this.#batch.length >= Coalescer.FULL || this.#batch.isFull) await this.#flushFull();
        }
        if (this.#flushIfDue()) await turn();
      }
    } catch (error) {
      if (!signal.aborted) this.#error = VirstreamError.from(error);
    }
    done(signal.aborted ? "stopped" : this.#error === undefined ? "whole" : "failed");
    // Sends the remaining records before the end, also if the driver failed. Only a sweep that was stopped drops them.
    if (!signal.aborted && this.#batch.rows > 0) await this.#flushFull();
    unlisten();
    clearTimeout(this.#timer);
    this.#begin();
    this.#options.outbound.end(this.#options.id, this.#error, this.#tally.summary(performance.now() - began));
  }

  /** Resolves when the sweep may begin, or is stopped. */
  async #turn(): Promise<void> {
    await new Promise<void>((resolve) => {
      const giveUp = this.#options.enter(resolve);
      this.#abort.signal.addEventListener("abort", () => {
        giveUp();
        resolve();
      });
    });
  }

  /** Sends `begin` if it was not sent before, with the number of domains if the driver knows it by then. */
  #begin(domains?: number): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#options.outbound.say({ type: "begin", id: this.#options.id, ...(domains !== undefined && { domains }) });
  }

  get #open(): boolean {
    return this.#credit.open && this.#options.outbound.writable;
  }

  #opened(): void {
    if (!this.#open) return;
    this.#wakeOpen?.();
    this.#flushIfDue();
  }

  /**
   * Sends the collected records as a message if the message is due and may be sent, and returns whether it did. If the
   * message may be sent but is not due yet, this method sets a timer.
   */
  #flushIfDue(): boolean {
    if (this.#batch.rows === 0 || this.#abort.signal.aborted || !this.#open) return false;
    const wait = this.#coalescer.wait(this.#batch.length);
    if (wait <= 0) {
      this.#flush();
      return true;
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flushIfDue();
    }, Math.ceil(wait));
    return false;
  }

  /**
   * Waits until the collected records may be sent, and sends them as a message, or drops them if the sweep is stopped.
   * Then it yields to the event loop: a driver that never waits would otherwise block cancels and other sweeps.
   */
  async #flushFull(): Promise<void> {
    while (this.#batch.rows > 0 && !this.#open && !this.#abort.signal.aborted) await this.#waitOpen();
    if (this.#batch.rows === 0) return;
    if (this.#abort.signal.aborted) this.#batch.clear();
    else this.#flush();
    await turn();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#begin();
    const rows = this.#options.outbound.profile.rows({ id: this.#options.id }, this.#batch);
    this.#batch.clear(rows.bytes);
    this.#credit.spend(rows.bytes);
    this.#options.outbound.sendRows(rows, recycle);
    this.#coalescer.flushed();
  }

  /**
   * Resolves when there is again both credit and room in the socket's queue, or when the sweep is stopped. If this
   * takes longer than `progressTimeoutMs`, this method stops the sweep.
   */
  #waitOpen(): Promise<void> {
    const open = new Promise<void>((resolve) => {
      this.#wakeOpen = resolve;
    });
    const ms = this.#options.progressTimeoutMs;
    const advice = "read faster, or request fewer groups or fewer domains at a time";
    const late = (): void =>
      this.stop(new VirstreamError("slow-consumer", `the reader took nothing for ${ms / 1000} s: ${advice}`));
    return withTimeout(open, ms, late, { clock: PATIENT_CLOCK });
  }
}
