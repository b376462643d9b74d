import { TypedParams } from "../../../src/model/params.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../../../src/model/record.ts";
import type { ParamTypeName } from "../../../src/model/schema.ts";
import { type ExpositionFormat, expose } from "../../../src/outlets/prometheus/exposition.ts";
import { familiesOf } from "../../../src/outlets/prometheus/families.ts";
import type { Dialect, Host, SelfFigures } from "../../../src/outlets/prometheus/family.ts";
import { prepareRows, type RowOptions } from "../../../src/outlets/prometheus/row.ts";

export type Param = readonly [key: string, type: ParamTypeName, value: number | bigint | string];

/** A record of a domain. */
export function recordOf(
  name: string,
  params: readonly Param[] = [],
  init: Partial<RecordInit> = {},
): DomainStatsRecord {
  const domain = new Domain("11111111-1111-1111-1111-111111111111", name, 1, "hv1");
  const fixed = { status: "ok", sampledAt: 0, steadyAt: 0, tookMs: 1, index: 0 } as const;
  return new DomainStatsRecord({ domain, params: TypedParams.from(params), ...fixed, ...init });
}

export interface PageOptions {
  readonly dialect?: Dialect;
  readonly format?: ExpositionFormat;
  readonly hosts?: Host["hosts"];
  readonly self?: SelfFigures;
  readonly now?: number;
  readonly stuckSince?: number;
  readonly describe?: RowOptions["describe"];
  readonly pools?: Host["pools"];
}

/** The chunks of a page. */
export function chunksOf(records: readonly DomainStatsRecord[], options: PageOptions = {}): string[] {
  const {
    dialect = "both",
    format = "text",
    hosts = [{ name: "hv1", up: true }],
    self,
    now = 0,
    stuckSince,
    describe,
    pools = [],
  } = options;
  const several = hosts.length > 1;
  const preparation = prepareRows(records, {
    several,
    now,
    stuckSince: () => stuckSince,
    ...(describe && { describe }),
  });
  for (;;) {
    const step = preparation.next();
    if (step.done) return [...expose(familiesOf(dialect), { rows: step.value, hosts, several, pools, self }, format)];
  }
}

/** A page as text. */
export function pageOf(records: readonly DomainStatsRecord[], options: PageOptions = {}): string {
  return chunksOf(records, options).join("");
}

/** The sample lines of a page. */
export function samplesOf(page: string): string[] {
  return page.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

/** The sample lines of a family. */
export function samplesNamed(page: string, name: string): string[] {
  return samplesOf(page).filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
}
