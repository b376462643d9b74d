/** Makes watches possible: a module imports this one so that connections can make a Sampling. */

import { Sampling } from "../sampling/sampling.ts";
import { setSampling } from "./sampling-factory.ts";

setSampling((source, clock) => new Sampling(source, clock));
