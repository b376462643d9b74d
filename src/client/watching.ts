/** Lets connections watch. Imported for that effect. */

import { Sampling } from "../sampling/sampling.ts";
import { setSampling } from "./sampling-factory.ts";

setSampling((source, clock) => new Sampling(source, clock));
