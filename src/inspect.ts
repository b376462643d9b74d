/**
 * Makes Node's `console.log` and `util.inspect` show the content of parameters and records, without the inner
 * structure. Import this file only for that effect, and only in Node: a page does not need it.
 */

import { DomainStatsRecord } from "./model/record.ts";
import { TypedParams } from "./model/typed-params.ts";

type Inspect = (value: object, options: object) => string;

function show<T extends object>(prototype: T, shown: (value: T, options: object, inspect: Inspect) => string): void {
  Object.defineProperty(prototype, Symbol.for("nodejs.util.inspect.custom"), {
    value(this: T, _depth: number, options: object, inspect: Inspect) {
      return shown(this, options, inspect);
    },
  });
}

show(TypedParams.prototype, (params, options, inspect) => {
  return `TypedParams(${params.size}) ${inspect(Object.fromEntries(params), options)}`;
});

show(DomainStatsRecord.prototype, (record, options, inspect) => {
  const { domain, status, reason, missing, error, sampledAt, tookMs, index, state, params } = record;
  const { uuid, name, id, host } = domain;
  const members = {
    domain: { name, host, id, uuid },
    status,
    ...(reason !== undefined && { reason }),
    ...(missing.length > 0 && { missing }),
    ...(error !== undefined && { error }),
    ...(state !== undefined && { state }),
    sampledAt: new Date(sampledAt),
    ...{ tookMs, index, params },
  };
  return `DomainStatsRecord ${inspect(members, options)}`;
});
