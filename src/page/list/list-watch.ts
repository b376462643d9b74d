import type { Connection } from "../../client/connection.ts";
import type { TableRow } from "../../client/table/rows.ts";
import type { Table } from "../../client/table.ts";
import { hostNames } from "../../driver/matcher.ts";
import { type KnownGroup, permittedOf } from "../../model/group.ts";
import type { Absent } from "../../model/record.ts";
import { GuestList, type ListView } from "../../overview/guest-list.ts";
import { INTERVAL_MS } from "../interval.ts";
import { CpuHistory } from "./cpu-history.ts";

/**
 * The least time between two updates of the list, in ms. With several hosts, the sweep of each host ends at a time of
 * its own, so the table changes more often than once per interval.
 */
const LEAST_PAUSE_MS = 400;
/**
 * The list is shown at least this often, in ms, because ages grow, and a guest that does not answer delays the end of a
 * sweep.
 */
const CLOCK_MS = 1_000;
/** This many intervals after its first sweep, a host was surely swept twice. */
const TWO_SWEEPS = 1.2;
/** The updating of the list pauses after this many ms, so that the browser can draw and take input. */
const SLICE_MS = 5;

/**
 * The groups of every list: states, CPU, and one group that only the guest's own QEMU can answer, so that the list
 * shows whether QEMU answers.
 */
export const BASE_GROUPS: readonly KnownGroup[] = ["state", "cpu-total", "balloon"];

/**
 * The list of guests, and the watch that gives it records. While the watch is stopped, the server sends nothing, and
 * the list stays as it was.
 *
 * It processes the records of a tick, of 10,000 guests for example, in several tasks, so that none of these tasks
 * blocks the page.
 */
export class ListWatch {
  #list: GuestList;
  readonly cpu = new CpuHistory();
  /** The time between two sweeps, in ms, of watches that begin from now on. */
  intervalMs = INTERVAL_MS;
  readonly #viewOf: () => ListView;
  readonly #onUpdate: () => void;
  readonly #onEnd: (error: unknown) => void;
  readonly #now: () => number;
  #table: Table | undefined;
  #groups: ReadonlySet<KnownGroup> = new Set();
  #connection: Connection | undefined;
  /** True until the table of this watch has rates of all guests. Until then the earlier rows stay. */
  #waits = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  #pending = false;
  #updatedAt = 0;
  /** True while the connection to the server is lost. The rows then stay, and grow old. */
  lost = false;

  /**
   * @param viewOf returns the order and the filter of the list
   * @param onUpdate called after the list has changed
   * @param onEnd called when the watch ends by itself: with its error, or with undefined at the end of a recording
   * @param now the clock of the list, in ms; for a recording, the moment on the screen
   */
  constructor(
    viewOf: () => ListView,
    onUpdate: () => void,
    onEnd: (error: unknown) => void,
    now = (): number => performance.now(),
  ) {
    this.#now = now;
    this.#list = new GuestList(now);
    this.#viewOf = viewOf;
    this.#onUpdate = onUpdate;
    this.#onEnd = onEnd;
  }

  get list(): GuestList {
    return this.#list;
  }

  get running(): boolean {
    return this.#table !== undefined;
  }

  /**
   * Begins to watch, or continues the running watch. It replaces a running watch only if that watch lacks a group,
   * because a new watch has no rates at first.
   *
   * @param groups the groups of the columns on the screen
   */
  start(connection: Connection, groups: readonly KnownGroup[]): void {
    const wanted = new Set([...BASE_GROUPS, ...groups]);
    if (
      this.#table !== undefined &&
      connection === this.#connection &&
      [...wanted].every((each) => this.#groups.has(each))
    )
      return;
    const before = this.#table;
    this.#connection = connection;
    this.#groups = wanted;
    const table = connection.table(
      { groups: permittedOf([...wanted], connection.permittedGroups) },
      { intervalMs: this.intervalMs },
    );
    this.#table = table;
    this.#waits = this.#list.begun;
    // When the table is ready, each host was swept once. TWO_SWEEPS intervals later, each host was swept twice, so
    // there are rates.
    if (this.#waits) {
      const takeOver = (): void => {
        setTimeout(() => this.#takeOver(table), TWO_SWEEPS * this.intervalMs);
      };
      table.ready.then(takeOver, () => {});
    }
    before?.close();
    this.#timer ??= setInterval(() => this.#tick(), CLOCK_MS);
    void this.#follow(table);
  }

  /**
   * Shows a moment of a recording in place of the records of a watch.
   *
   * @param jumped true if this moment does not follow the moment before, so that the list must forget earlier moments
   */
  async show(rows: readonly TableRow[], absent: readonly Absent[], hosts: string[], jumped: boolean): Promise<void> {
    const list = jumped ? new GuestList(this.#now) : this.#list;
    await this.#take(list, rows, absent, hosts);
    this.#onUpdate();
  }

  /** Ends the watch. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#table?.close();
    this.#table = undefined;
  }

  async #follow(table: Table): Promise<void> {
    try {
      for await (const _ of table.changes) {
        if (table !== this.#table) return;
        this.#schedule();
      }
      if (table === this.#table) this.#ended(undefined);
    } catch (error) {
      if (table === this.#table) this.#ended(error);
    }
  }

  /** From now on the list shows the rows of this table. */
  #takeOver(table: Table): void {
    if (table !== this.#table) return;
    this.#waits = false;
    this.#schedule();
  }

  #ended(error: unknown): void {
    this.stop();
    this.#onEnd(error);
  }

  #tick(): void {
    if (performance.now() - this.#updatedAt >= CLOCK_MS - 100) this.#schedule();
  }

  #schedule(): void {
    if (this.#pending) return;
    this.#pending = true;
    const wait = Math.max(0, this.#updatedAt + LEAST_PAUSE_MS - performance.now());
    setTimeout(() => void this.#update(), wait);
  }

  async #update(): Promise<void> {
    const table = this.#table;
    if (table !== undefined && !this.#waits && !this.lost && (table.size > 0 || table.absent.length > 0)) {
      await this.#take(this.#list, table.values(), table.absent, hostNames(this.#connection!.host));
    }
    this.#pending = false;
    this.#updatedAt = performance.now();
    if (table !== undefined) this.#onUpdate();
  }

  /** Judges the rows, in several tasks. */
  async #take(list: GuestList, rows: readonly TableRow[], absent: readonly Absent[], hosts: string[]): Promise<void> {
    let began = performance.now();
    for (const _ of list.updating(rows, absent, hosts)) {
      if (performance.now() - began < SLICE_MS) continue;
      await nextTask();
      began = performance.now();
    }
    await nextTask();
    if (list !== this.#list) this.cpu.clear();
    this.cpu.take(rows);
    await nextTask();
    // Sorts now, in this task: the list keeps this order until its next update.
    list.lines(this.#viewOf());
    await nextTask();
    this.#list = list;
  }
}

/** Lets the browser draw and take input before the work goes on. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 0);
  });
}
