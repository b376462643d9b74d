import { LIST_FILTERS } from "../../model/query.ts";
import { STATE_NUMBERS } from "../../model/state.ts";
import { mix } from "./identity.ts";
import type { SimulatedOptions } from "./parameters.ts";

const { active, inactive, persistent, transient, running, paused, shutoff, other } = LIST_FILTERS;

/** The filters come in families: bits of one family add up, the families narrow each other. */
const FAMILIES = [active | inactive, persistent | transient, running | paused | shutoff | other];

/**
 * The traits of every guest, as the filter bits that apply to it: a byte each. Exactly as many guests as the options
 * say are shut off, paused and transient; the seed decides which ones.
 */
export function populate(options: SimulatedOptions): Uint8Array {
  const { domains, seed } = options;
  const traits = new Uint8Array(domains).fill(active | running | persistent);
  let off = options.shutoff;
  let resting = options.paused;
  let passing = options.transient;
  if (off + resting + passing === 0) return traits;
  // Selection sampling: of the guests left, each is taken with the chance (number wanted) / (number left).
  let alive = domains - off;
  for (let index = 0; index < domains; index++) {
    const draw = (mix(seed, 2 * index) >>> 0) % (domains - index);
    if (draw < off) {
      traits[index] = inactive | shutoff | persistent;
      off--;
      continue;
    }
    const rests = draw < off + resting;
    const passes = (mix(seed, 2 * index + 1) >>> 0) % alive < passing;
    traits[index] = active | (rests ? paused : running) | (passes ? transient : persistent);
    if (rests) resting--;
    if (passes) passing--;
    alive--;
  }
  return traits;
}

/** Whether a guest of these traits passes the filter bits of a query's flags; no bits let all pass. */
export function passesFilter(traits: number, filter: number): boolean {
  return FAMILIES.every((family) => (filter & family) === 0 || (filter & family & traits) !== 0);
}

/** libvirt's number of the state that these traits mean. */
export function stateOf(traits: number): number {
  if ((traits & running) !== 0) return STATE_NUMBERS.running;
  return (traits & paused) !== 0 ? STATE_NUMBERS.paused : STATE_NUMBERS.shutoff;
}
