import { VirstreamError } from "../../model/error.ts";
import { FAULT_PARAMETERS } from "./fault.ts";

/**
 * A number that may differ from guest to guest. Each guest draws a number of its own between `low` and `high`, both
 * included.
 */
export interface Span {
  readonly low: number;
  readonly high: number;
}

/** A simulated host as a URI describes it. */
export type SimulatedOptions = ReturnType<typeof parseSimulatedUri>;

const MAX_DOMAINS = 1_000_000;

const PARAMETERS = "domains vcpus disks nics seed host latency shutoff paused transient extras".split(" ");

/**
 * Reads a URI of the simulated host, `test:///default?domains=1000&freeze=3,7`.
 *
 * Without `domains`, the host has 12 guests, one of them paused and two shut off. With `domains`, all guests run unless
 * the URI says otherwise.
 *
 * @throws VirstreamError `invalid-uri`, saying what is allowed
 */
export function parseSimulatedUri(uri: string) {
  const match = /^test:\/\/\/default(?:\?([^#]*))?$/i.exec(uri);
  if (match === null) {
    throw new VirstreamError(
      "invalid-uri",
      `the simulated host has one URI, test:///default?PARAMETERS, not ${JSON.stringify(uri)}; ` +
        "libvirt's own test driver is test+unix:///default",
    );
  }
  const given = new URLSearchParams(match[1]);
  const known = [...PARAMETERS, ...Object.keys(FAULT_PARAMETERS)];
  for (const name of given.keys()) {
    if (!known.includes(name)) {
      throw new VirstreamError(
        "invalid-uri",
        `unknown parameter ${JSON.stringify(name)}: test:///default takes ${known.join(", ")}`,
      );
    }
    if (PARAMETERS.includes(name) && given.getAll(name).length > 1) {
      throw new VirstreamError("invalid-uri", `${name} is given twice`);
    }
  }

  const whole = (name: string, usual: number, most: number): number => {
    const value = given.get(name) ?? `${usual}`;
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    return number <= most ? number : refuse(name, value, `a whole number from 0 to ${most}`);
  };
  const span = (name: string, least: number, most: number, usual: string): Span => {
    const value = given.get(name) ?? usual;
    const [, first, second = first] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(value) ?? [];
    const [low, high] = [Number(first), Number(second)];
    if (low >= least && high >= low && high <= most) return { low, high };
    return refuse(name, value, `a whole number from ${least} to ${most}, or two of them for guests that differ: 1-4`);
  };
  const count = (name: string, usual: number, most: number): number => {
    const value = given.get(name) ?? `${Math.min(usual, most)}`;
    const [, digits, percent] = /^(\d{1,9})(%?)$/.exec(value) ?? [];
    const amount = Number(digits);
    const number = percent === "%" ? Math.round((amount / 100) * most) : amount;
    return number <= most && !(percent === "%" && amount > 100)
      ? number
      : refuse(name, value, `0 to ${most}, or a share such as 10%`);
  };

  const mixed = !given.has("domains");
  const domains = whole("domains", 12, MAX_DOMAINS);
  const shutoff = count("shutoff", mixed ? 2 : 0, domains);
  const extras = given.get("extras") ?? "0";
  // Terminals show the host's name, and metrics have it as a label, so it must not contain a line break.
  const host = given.get("host") ?? "simulated";
  return {
    domains,
    vcpus: span("vcpus", 1, 1024, "1-4"),
    disks: span("disks", 0, 256, "1-2"),
    nics: span("nics", 0, 64, "1-2"),
    seed: whole("seed", 1, 0xffffffff),
    /**
     * The name of the host. The uuids depend on the name, so two hosts with different names have no guest in common.
     */
    host: /^[\w.:-]{1,255}$/.test(host) ? host : refuse("host", host, "1 to 255 letters, digits, dots and dashes"),
    /** How long each guest's answer takes, in ms. */
    latencyMs: whole("latency", 0, 600_000),
    shutoff,
    paused: count("paused", mixed ? 1 : 0, domains - shutoff),
    /** How many guests are transient; none of these is shut off. */
    transient: count("transient", 0, domains - shutoff),
    /** True if guests also have the parameters that only some real guests have. Then active guests lack no group. */
    extras: extras === "1" || (extras !== "0" && refuse("extras", extras, "0 or 1")),
    faults: Object.keys(FAULT_PARAMETERS).flatMap((fault) =>
      given.getAll(fault).flatMap((text) => text.split(",").map((item) => faultRequest(fault, item, domains))),
    ),
  };
}

/**
 * Reads one item of a fault parameter, such as `3-6:500`. Returns the fault's name in FAULT_PARAMETERS, the first and
 * the last guest that have the fault, and its amount.
 */
function faultRequest(fault: string, item: string, domains: number) {
  const { amount: allowed } = FAULT_PARAMETERS[fault]!;
  const match = /^(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?$/.exec(item);
  const form = allowed === undefined ? "e.g. 3 or 3-6" : `e.g. 3 or 3-6:${allowed.usual} (${allowed.unit})`;
  if (match === null || (allowed === undefined && match[3] !== undefined)) {
    return refuse(fault, item, `indexes of guests and ranges of them, ${form}`);
  }
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  if (last < first || last >= domains) {
    refuse(fault, item, domains === 0 ? "left out: there are no guests" : `within 0 and ${domains - 1}, ${form}`);
  }
  const amount = Number(match[3] ?? allowed?.usual ?? 0);
  if (allowed !== undefined && (amount < 1 || amount > allowed.most)) {
    refuse(fault, item, `followed by 1 to ${allowed.most} ${allowed.unit}`);
  }
  return { fault, first, last, amount };
}

function refuse(name: string, value: string, allowed: string): never {
  throw new VirstreamError("invalid-uri", `${name}=${value}: ${name} must be ${allowed}`);
}
