import type { Clock } from "../driver/clock.ts";
import { VirstreamError } from "../model/error.ts";
import type { Sampling, Source } from "../sampling/sampling.ts";

type NewSampling = (source: Source, clock: Clock) => Sampling;

/** Makes a Sampling: the object that runs all watches of a connection. */
export let newSampling: NewSampling = () => {
  throw new VirstreamError("unsupported", "a page has no figures of watches before its first one");
};

/**
 * Sets the function that makes a Sampling. watching.ts calls this when watching.ts is loaded, so a page without watches
 * does not load the code of Sampling.
 */
export function setSampling(make: NewSampling): void {
  newSampling = make;
}
