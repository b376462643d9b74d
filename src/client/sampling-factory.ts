import type { Clock } from "../driver/clock.ts";
import { VirstreamError } from "../model/error.ts";
import type { Sampling, Source } from "../sampling/sampling.ts";

type NewSampling = (source: Source, clock: Clock) => Sampling;

/** Makes a connection's Sampling, from which all its watches come. */
export let newSampling: NewSampling = () => {
  throw new VirstreamError("unsupported", "a page has no figures of watches before its first one");
};

/** Sets what makes it. watching.ts does so when it is loaded: a page that watches nothing need not load it. */
export function setSampling(make: NewSampling): void {
  newSampling = make;
}
