import type { Clock } from "../driver/clock.ts";
import { VirstreamError } from "../model/error.ts";
import type { Sampling, Source } from "../sampling/sampling.ts";

type NewSampling = (source: Source, clock: Clock) => Sampling;

/** Makes a connection's Sampling, from which all its watches come. */
export let newSampling: NewSampling = () => {
  throw new VirstreamError("unsupported", "a page has no figures of watches before its first one");
};

/**
 * Sets the function that makes it. watching.ts calls this when it is loaded, so a page without watches does not load
 * that code.
 */
export function setSampling(make: NewSampling): void {
  newSampling = make;
}
