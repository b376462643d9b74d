import type { ParamValue, TypedParams } from "../../model/params.ts";
import { cellAt, difference } from "./difference.ts";
import type { DeviceKeys } from "./layout.ts";

/**
 * The counters of one kind of part of a domain, as they were in the last record that had them.
 *
 * They are copied into arrays that live as long as the domain, instead of keeping the record: records then die young.
 * Kept until the next one comes, thousands of them would be moved by the garbage collector again and again, which costs
 * several times what the rates do.
 */
export class Counters {
  /** When they were sampled, in ms since 1970. */
  at = Number.NaN;
  /** The number of the record that had them, counted for the domain. */
  turn = -1;
  #rows: readonly DeviceKeys[] = [];
  /** Row by row. NaN is missing, or beyond 2^53 and then in `#wide`. */
  readonly #values: number[] = [];
  readonly #labels: (ParamValue | undefined)[] = [];
  #wide: Map<number, bigint> | undefined;
  // Once a device is missing all others may have moved: tables, lest a long list is searched for each of a long list.
  #numbered: Map<number, number> | undefined;
  #named: Map<ParamValue, number> | undefined;

  /**
   * The place of the row with the same number; −1 when there is none.
   *
   * @param guess its place when nothing was plugged
   */
  numbered(row: DeviceKeys, guess: number): number {
    if (this.#rows[guess]?.number === row.number) return guess;
    this.#numbered ??= new Map(this.#rows.map(({ number }, place) => [number, place]));
    return this.#numbered.get(row.number) ?? -1;
  }

  /**
   * The place of the row with the same labels; −1 when there is none. Of a disk these are name, path and backing index:
   * another disk may be plugged under a name, and its counters, compared with the old one's, would be wrong and look
   * right. A disk that only got a new image, by a snapshot, costs one pair.
   *
   * @param guess its place when nothing was plugged
   */
  labelled(row: DeviceKeys, params: TypedParams, guess: number): number {
    if (guess < this.#rows.length && this.#same(guess, row, params)) return guess;
    this.#named ??= this.#places();
    const place = this.#named.get(cellAt(params, row.labels[0]!) ?? "") ?? -1;
    return place >= 0 && this.#same(place, row, params) ? place : -1;
  }

  /**
   * Writes how far each counter of a row went into `steps`, NaN where it is missing on either side.
   *
   * @returns false when there is nothing to compare with, or when one went down: the part was then reset, and nothing
   * of the pair can be trusted
   */
  compare(steps: Float64Array, place: number, row: DeviceKeys, params: TypedParams): boolean {
    if (place < 0 || !row.counts || !this.#rows[place]!.counts) return false;
    const { counters } = row;
    const values = this.#values;
    const wide = this.#wide;
    const first = place * counters.length;
    for (let i = 0; i < counters.length; i++) {
      const before = wide?.get(first + i) ?? values[first + i];
      const step = difference(before, cellAt(params, counters[i]!));
      if (step < 0) return false;
      steps[i] = step;
    }
    return true;
  }

  /** Whether the first counter of the first row has gone down. */
  fell(row: DeviceKeys, params: TypedParams): boolean {
    return difference(this.#wide?.get(0) ?? this.#values[0], cellAt(params, row.counters[0]!)) < 0;
  }

  /** Keeps the counters of a record instead of those before. */
  keep(rows: readonly DeviceKeys[], params: TypedParams, at: number, turn: number): void {
    this.at = at;
    this.turn = turn;
    this.#numbered = undefined;
    this.#named = undefined;
    this.#wide = undefined;
    const values = this.#values;
    const texts = this.#labels;
    let value = 0;
    let text = 0;
    for (let i = 0; i < rows.length; i++) {
      const { counters, labels } = rows[i]!;
      for (let j = 0; j < counters.length; j++) {
        const cell = cellAt(params, counters[j]!);
        if (typeof cell === "bigint") this.#keepWide(value, cell);
        values[value++] = typeof cell === "number" ? cell : Number.NaN;
      }
      for (let j = 0; j < labels.length; j++) {
        const cell = cellAt(params, labels[j]!);
        // The text that is kept is the first that said so, and not one from each record.
        if (texts[text] !== cell) texts[text] = cell;
        text++;
      }
    }
    if (rows.length < this.#rows.length) {
      values.length = value;
      texts.length = text;
    }
    this.#rows = rows;
  }

  #keepWide(at: number, cell: bigint): void {
    this.#wide ??= new Map();
    this.#wide.set(at, cell);
  }

  #same(place: number, row: DeviceKeys, params: TypedParams): boolean {
    const { labels } = row;
    const first = place * labels.length;
    for (let i = 0; i < labels.length; i++) {
      if (this.#labels[first + i] !== cellAt(params, labels[i]!)) return false;
    }
    return true;
  }

  #places(): Map<ParamValue, number> {
    const places = new Map<ParamValue, number>();
    for (const [place, { counts, labels }] of this.#rows.entries()) {
      const name = this.#labels[place * labels.length];
      // The members of a disk's backing chain have its name, and no counters.
      if (counts && name !== undefined && !places.has(name)) places.set(name, place);
    }
    return places;
  }
}
