import { VirstreamError } from "../../model/error.ts";

/** A number that may differ from guest to guest: each draws its own between the two, both included. */
export interface Span {
  readonly low: number;
  readonly high: number;
}

/** The faults that a URI can ask for, and what stands behind an index's colon. */
export const FAULT_PARAMETERS = {
  freeze: undefined,
  slow: { unit: "ms", usual: 500, most: 600_000 },
  vanish: undefined,
  error: undefined,
  appear: { unit: "ms", usual: 5_000, most: 86_400_000 },
  reset: { unit: "ms", usual: 60_000, most: 86_400_000 },
  huge: { unit: "parameters", usual: 200_000, most: 1_000_000 },
  extremes: undefined,
} as const satisfies Record<string, { unit: string; usual: number; most: number } | undefined>;

/** A fault by its name in a URI. */
export type FaultName = keyof typeof FAULT_PARAMETERS;

/** One fault for a run of guests. */
export interface FaultRequest {
  readonly fault: FaultName;
  readonly first: number;
  readonly last: number;
  /** The number behind the colon, or its default; 0 for faults that take none. */
  readonly amount: number;
}

/** A simulated host as a URI describes it. */
export interface SimulatedOptions {
  readonly domains: number;
  readonly vcpus: Span;
  readonly disks: Span;
  readonly nics: Span;
  readonly iothreads: number;
  readonly seed: number;
  /** The name of the host. It takes part in the uuids: two hosts have no guest in common. */
  readonly host: string;
  /** How long each guest's answer takes, in ms. */
  readonly latencyMs: number;
  /** How many guests are shut off, are paused, and are transient; transient ones are never shut off. */
  readonly shutoff: number;
  readonly paused: number;
  readonly transient: number;
  readonly perf: boolean;
  readonly kvm: boolean;
  readonly dirtyrate: boolean;
  /** How many memory bandwidth monitors each running guest has. */
  readonly bandwidth: number;
  readonly faults: readonly FaultRequest[];
}

const MOST_DOMAINS = 10_000_000;
/** Every guest with a fault costs memory, and this many cost some hundred MiB. */
const MOST_FAULTS = 1_000_000;

const SCALARS = [
  "domains",
  "vcpus",
  "disks",
  "nics",
  "iothreads",
  "seed",
  "host",
  "latency",
  "shutoff",
  "paused",
  "transient",
  "perf",
  "kvm",
  "dirtyrate",
  "bandwidth",
] as const;

type Scalar = (typeof SCALARS)[number];

/**
 * Reads a URI of the embedded host, `test:///default?domains=1000&freeze=3,7`.
 *
 * Without `domains` it is a host of 12 with one guest paused and two shut off; with it, all run unless told otherwise.
 *
 * @throws VirstreamError `invalid-uri`, saying what is allowed
 */
export function parseSimulatedUri(uri: string): SimulatedOptions {
  const match = /^test:\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/i.exec(uri);
  if (match === null || match[1] !== "" || match[2] !== "/default") {
    throw new VirstreamError(
      "invalid-uri",
      `the embedded host has one URI, test:///default?PARAMETERS, not ${JSON.stringify(uri)}; ` +
        "libvirt's own test driver is test+unix:///default",
    );
  }
  const { scalars, faultTexts } = split(match[3] ?? "");
  const given = scalars.get("domains");
  const domains = given === undefined ? 12 : whole("domains", given, 0, MOST_DOMAINS);
  const shutoff = count("shutoff", scalars.get("shutoff"), domains, given === undefined ? 2 : 0);
  const most = domains - shutoff;
  return {
    domains,
    vcpus: span("vcpus", scalars.get("vcpus"), 1, 1024, { low: 1, high: 4 }),
    disks: span("disks", scalars.get("disks"), 0, 256, { low: 1, high: 2 }),
    nics: span("nics", scalars.get("nics"), 0, 64, { low: 1, high: 2 }),
    iothreads: whole("iothreads", scalars.get("iothreads") ?? "0", 0, 64),
    seed: whole("seed", scalars.get("seed") ?? "1", 0, 0xffffffff),
    host: hostName(scalars.get("host") ?? "simulated"),
    latencyMs: whole("latency", scalars.get("latency") ?? "0", 0, 600_000),
    shutoff,
    paused: count("paused", scalars.get("paused"), most, given === undefined ? Math.min(1, most) : 0),
    transient: count("transient", scalars.get("transient"), most, 0),
    perf: flag("perf", scalars.get("perf")),
    kvm: flag("kvm", scalars.get("kvm")),
    dirtyrate: flag("dirtyrate", scalars.get("dirtyrate")),
    bandwidth: whole("bandwidth", scalars.get("bandwidth") ?? "0", 0, 64),
    faults: faultRequests(faultTexts, domains),
  };
}

function split(search: string): { scalars: Map<Scalar, string>; faultTexts: [FaultName, string][] } {
  const scalars = new Map<Scalar, string>();
  const faultTexts: [FaultName, string][] = [];
  for (const [name, value] of new URLSearchParams(search)) {
    if (Object.hasOwn(FAULT_PARAMETERS, name)) {
      faultTexts.push([name as FaultName, value]);
    } else if (!SCALARS.includes(name as Scalar)) {
      const all = [...SCALARS, ...Object.keys(FAULT_PARAMETERS)].join(", ");
      throw new VirstreamError(
        "invalid-uri",
        `unknown parameter ${JSON.stringify(name)}: test:///default takes ${all}`,
      );
    } else if (scalars.has(name as Scalar)) {
      throw new VirstreamError("invalid-uri", `${name} is given twice`);
    } else {
      scalars.set(name as Scalar, value);
    }
  }
  return { scalars, faultTexts };
}

function refuse(name: string, value: string, allowed: string): never {
  throw new VirstreamError("invalid-uri", `${name}=${value}: ${name} must be ${allowed}`);
}

function whole(name: string, value: string, low: number, high: number): number {
  const number = /^\d{1,15}$/.test(value) ? Number(value) : -1;
  return number >= low && number <= high ? number : refuse(name, value, `a whole number from ${low} to ${high}`);
}

function span(name: string, value: string | undefined, least: number, most: number, usual: Span): Span {
  if (value === undefined) return usual;
  const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(value);
  const low = Number(match?.[1] ?? -1);
  const high = Number(match?.[2] ?? low);
  if (low < least || high > most || high < low) {
    refuse(name, value, `a whole number from ${least} to ${most}, or two of them for guests that differ, e.g. 1-4`);
  }
  return { low, high };
}

function count(name: string, value: string | undefined, most: number, usual: number): number {
  if (value === undefined) return Math.min(usual, most);
  const match = /^(\d{1,9})(%?)$/.exec(value);
  const amount = Number(match?.[1] ?? -1);
  const number = match?.[2] !== "%" ? amount : amount <= 100 ? Math.round((amount / 100) * most) : -1;
  return number >= 0 && number <= most ? number : refuse(name, value, `0 to ${most}, or a share such as 10%`);
}

function flag(name: string, value: string | undefined): boolean {
  if (value === undefined || value === "0") return false;
  return value === "1" || refuse(name, value, "0 or 1");
}

function hostName(value: string): string {
  // Shown in terminals and used as a metric label: nothing there that could break a line.
  return /^[\w.:-]{1,255}$/.test(value) ? value : refuse("host", value, "1 to 255 letters, digits, dots and dashes");
}

function faultRequests(texts: readonly [FaultName, string][], domains: number): FaultRequest[] {
  const requests: FaultRequest[] = [];
  let guests = 0;
  for (const [fault, text] of texts) {
    for (const item of text.split(",")) {
      const request = faultRequest(fault, item, domains);
      guests += request.last - request.first + 1;
      requests.push(request);
    }
  }
  if (guests > MOST_FAULTS) {
    throw new VirstreamError("invalid-uri", `${guests} faults: at most ${MOST_FAULTS} can be asked for`);
  }
  return requests;
}

function faultRequest(fault: FaultName, item: string, domains: number): FaultRequest {
  const amounts = FAULT_PARAMETERS[fault];
  const match = /^(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?$/.exec(item);
  const form = amounts === undefined ? "e.g. 3 or 3-6" : `e.g. 3 or 3-6:${amounts.usual} (${amounts.unit})`;
  if (match === null || (amounts === undefined && match[3] !== undefined)) {
    refuse(fault, item, `indexes of guests and ranges of them, ${form}`);
  }
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  if (last < first || last >= domains) {
    refuse(fault, item, domains === 0 ? "left out: there are no guests" : `within 0 and ${domains - 1}, ${form}`);
  }
  const amount = Number(match[3] ?? amounts?.usual ?? 0);
  if (amounts !== undefined && (amount < 1 || amount > amounts.most)) {
    refuse(fault, item, `followed by 1 to ${amounts.most} ${amounts.unit}`);
  }
  return { fault, first, last, amount };
}
