import type { FaultRequest } from "./parameters.ts";

/** What is wrong with one guest. A guest has one of these only while something is. */
export interface Fault {
  /** Its monitor never answers. */
  frozen: boolean;
  /** Its monitor answers after so many ms; 0 is at once. */
  slowMs: number;
  /** Asking for it fails. */
  failing: boolean;
  /** `vanishing`: still listed, and gone when it is asked for; `absent` from then on. */
  presence: "present" | "vanishing" | "absent";
  /** It is absent until this time, in ms since 1970. */
  appearsAt: number;
  /** Its counters restart whenever the time since 1970 is a multiple of so many ms; 0 is never. */
  resetMs: number;
  /** Its counters began at 0 at this time, in ms since 1970. */
  restartedAt: number;
  /** Its record has so many parameters; 0 is what it has by nature. */
  parameters: number;
  /** Its record ends with values at the limits of every type. */
  extremes: boolean;
}

const NO_FAULT: Fault = {
  frozen: false,
  slowMs: 0,
  failing: false,
  presence: "present",
  appearsAt: Number.NEGATIVE_INFINITY,
  resetMs: 0,
  restartedAt: Number.NEGATIVE_INFINITY,
  parameters: 0,
  extremes: false,
};

/** The guests with faults: the only thing of a host that takes memory per guest. */
export class FaultBook {
  readonly #faults = new Map<number, Fault>();

  /** @param startedAt what the delays of `appear` count from, in ms since 1970 */
  constructor(requests: readonly FaultRequest[], startedAt: number) {
    for (const { fault, first, last, amount } of requests) {
      const change = changeOf({ fault, first, last, amount }, startedAt);
      for (let index = first; index <= last; index++) this.set(index, change);
    }
  }

  /** How many guests have a fault. */
  get size(): number {
    return this.#faults.size;
  }

  /** What is wrong with a guest; undefined when nothing is. */
  of(index: number): Fault | undefined {
    return this.#faults.size === 0 ? undefined : this.#faults.get(index);
  }

  /** Changes what is wrong with a guest; whoever has no fault left is forgotten. */
  set(index: number, change: Partial<Fault>): void {
    const fault = Object.assign(this.#faults.get(index) ?? { ...NO_FAULT }, change);
    if ((Object.keys(NO_FAULT) as (keyof Fault)[]).some((name) => fault[name] !== NO_FAULT[name])) {
      this.#faults.set(index, fault);
    } else {
      this.#faults.delete(index);
    }
  }

  /** Nothing is wrong with this guest any more. */
  clear(index: number): void {
    this.#faults.delete(index);
  }

  /** The guests that are not there at this time; undefined for none, which is the usual case. */
  absent(now: number): ReadonlySet<number> | undefined {
    let absent: Set<number> | undefined;
    for (const [index, fault] of this.#faults) {
      if (isAbsent(fault, now)) {
        absent ??= new Set();
        absent.add(index);
      }
    }
    return absent;
  }
}

/** Whether a guest is not there at this time, in ms since 1970. */
export function isAbsent(fault: Fault, now: number): boolean {
  return fault.presence === "absent" || now < fault.appearsAt;
}

function changeOf({ fault, amount }: FaultRequest, startedAt: number): Partial<Fault> {
  switch (fault) {
    case "freeze":
      return { frozen: true };
    case "slow":
      return { slowMs: amount };
    case "vanish":
      return { presence: "vanishing" };
    case "error":
      return { failing: true };
    case "appear":
      return { appearsAt: startedAt + amount };
    case "reset":
      return { resetMs: amount };
    case "huge":
      return { parameters: amount };
    case "extremes":
      return { extremes: true };
  }
}
