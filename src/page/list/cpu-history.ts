import type { TableRow } from "../../client/table/rows.ts";
import { entryOf } from "../../driver/memo.ts";
import { SAMPLES } from "./sparkline.ts";

interface Ring {
  readonly samples: Float32Array;
  /** How many samples were put in so far, including those that were overwritten. */
  count: number;
  /** When the last sample was taken, in ms of the steady clock. */
  at: number;
  /** The number of the last take() that saw the guest. */
  seen: number;
}

/**
 * The last samples of the CPU of each guest. The samples of one guest need 240 bytes. When a guest has left, its
 * samples are deleted.
 */
export class CpuHistory {
  readonly #rings = new Map<string, Ring>();
  #takes = 0;

  /** Forgets all samples. */
  clear(): void {
    this.#rings.clear();
  }

  /** Takes the newest record of each guest. A record that it already has adds nothing. */
  take(rows: readonly TableRow[]): void {
    this.#takes++;
    for (const { key, record, glance } of rows) {
      const ring = entryOf(this.#rings, key, () => ({
        ...{ samples: new Float32Array(SAMPLES), count: 0, at: Number.NaN, seen: 0 },
      }));
      ring.seen = this.#takes;
      if (ring.at === record.steadyAt) continue;
      ring.at = record.steadyAt;
      ring.samples[ring.count++ % SAMPLES] = glance.cpu.percent ?? Number.NaN;
    }
    if (this.#rings.size === rows.length) return;
    for (const [key, ring] of this.#rings) if (ring.seen !== this.#takes) this.#rings.delete(key);
  }

  /** The samples of a guest, the oldest first; NaN where its CPU was not known. */
  of(key: string): number[] {
    const ring = this.#rings.get(key);
    if (ring === undefined) return [];
    const length = Math.min(ring.count, SAMPLES);
    return Array.from({ length }, (_, i) => ring.samples[(ring.count - length + i) % SAMPLES]!);
  }
}
