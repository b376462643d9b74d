/**
 * The costs of each of PARTS, as the table in docs/scale.md says: processor time in µs per sweep (for a server: per
 * second), memory in bytes, and traffic in bytes.
 */
export type Costs = Readonly<Record<(typeof PARTS)[number], Cost>>;

export interface Cost {
  readonly micros: number;
  readonly memory: number;
  /** Bytes per sweep. */
  readonly traffic: number;
}

/** A load of a server that reads other servers. */
export interface Load {
  readonly hosts: number;
  /** The number of domains of each host. */
  readonly domains: number;
  readonly intervalS: number;
  /** How many subscribers watch all domains, with one query. */
  readonly subscribers: number;
}

/**
 * The names of the rows in the table of costs. The processor time of a server is per second, that of the other rows per
 * sweep. The costs of a host and of a domain include one subscriber.
 */
const PARTS = [
  "a server",
  "a host",
  "a domain",
  "a further subscriber",
  "… for each host of its watch",
  "… for each domain of its watch",
] as const;

const UNITS: Readonly<Record<string, number>> = { µs: 1, ms: 1_000, B: 1, kB: 1_000, MiB: 2 ** 20 };

/** Reads the table of costs in a document. */
export function costsOf(page: string): Costs {
  const costs = PARTS.map((part) => {
    const row = page.split("\n").find((line) => line.startsWith(`| ${part} |`));
    if (row === undefined) throw new Error(`there is no row ${part}`);
    const [micros, memory, traffic] = row.split("|").slice(2, 5).map(quantity);
    return [part, { micros, memory, traffic }];
  });
  return Object.fromEntries(costs) as Costs;
}

/** The quantity in a cell, in µs or bytes; 0 for an empty cell. */
function quantity(text: string): number {
  const [, value, unit] = /^([\d.,]+) (\S+)$/.exec(text.trim()) ?? [];
  if (value === undefined) return 0;
  return Number(value.replaceAll(",", "")) * UNITS[unit!]!;
}

/**
 * The last four cells of a row with estimates: the share of a core, the memory, the traffic that the server receives,
 * and the traffic that it sends to all subscribers together.
 */
export function estimate(costs: Costs, { hosts, domains, intervalS, subscribers }: Load): string[] {
  const all = hosts * domains;
  const server = costs["a server"];
  const [host, domain, subscriber] = [costs["a host"], costs["a domain"], costs["a further subscriber"]];
  const [ofHost, ofDomain] = [costs["… for each host of its watch"], costs["… for each domain of its watch"]];
  const source = hosts * host.micros + all * domain.micros;
  const sending = Math.max(0, subscribers - 1) * (hosts * ofHost.micros + all * ofDomain.micros);
  const micros = server.micros + (source + sending) / intervalS;
  const memory = server.memory + hosts * host.memory + all * domain.memory + subscribers * subscriber.memory;
  const sent = (subscribers * (hosts * ofHost.traffic + all * ofDomain.traffic)) / intervalS;
  const received = (hosts * host.traffic + all * domain.traffic) / intervalS;
  return [`${round(micros / 10_000)} %`, bytes(memory), bits(received), bits(sent)];
}

/** Returns the text of a document in which the estimates of the tables are computed from these costs. */
export function withEstimates(costs: Costs, page: string): string {
  return page
    .split("\n")
    .map((line) => {
      const at = placeOf(cellsOf(line));
      if (at < 0) return line;
      const cells = cellsOf(line);
      cells.splice(at + 3, 4, ...estimate(costs, loadOf(cells, at)));
      return `| ${cells.join(" | ")} |`.replace("|  |", "| |");
    })
    .join("\n");
}

function cellsOf(line: string): string[] {
  return line.startsWith("| ")
    ? line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim())
    : [];
}

/**
 * The index of the cell that has hosts and domains, such as `50 × 40`; the next cells have the interval and the
 * subscribers. -1: there is no such cell.
 */
function placeOf(cells: readonly string[]): number {
  return cells.findIndex((cell) => /^[\d,]+ × \d+$/.test(cell));
}

function loadOf(cells: readonly string[], at: number): Load {
  const [hosts, domains] = cells[at]!.split(" × ").map(count);
  return {
    ...{ hosts: hosts!, domains: domains! },
    intervalS: count(cells[at + 1]!.replace(/ s$/, "")),
    subscribers: count(cells[at + 2]!),
  };
}

function count(text: string): number {
  return Number(text.replaceAll(",", ""));
}

function round(value: number): string {
  return Number(value.toPrecision(2)).toLocaleString("en");
}

function bytes(value: number): string {
  return value < 2 ** 30 ? `${round(value / 2 ** 20)} MiB` : `${round(value / 2 ** 30)} GiB`;
}

function bits(perSecond: number): string {
  const megabits = (perSecond * 8) / 1e6;
  return megabits < 1_000 ? `${round(megabits)} Mbit/s` : `${round(megabits / 1_000)} Gbit/s`;
}
