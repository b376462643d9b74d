/** The exports of virstream on every platform. */

export type { HostSource } from "./aggregate/aggregate-driver.ts";
export { connect, connectAll } from "./client/connect.ts";
export {
  type CallOptions,
  type CloseOptions,
  Connection,
  type GroupQuery,
  type RatesQuery,
} from "./client/connection.ts";
export { FleetConnection, type FleetHost } from "./client/fleet.ts";
// The rates of a domain and of its disks, interfaces and other parts, as rates() and tables give them.
export type * from "./client/rates/domain-rates.ts";
export { StatsStream, Stream, WatchStream } from "./client/stream.ts";
// The events of a sweep, which stats().events yields.
export type { SweepEvent } from "./client/sweep-events.ts";
// The changes that a table reports for each tick.
export type { TableChange } from "./client/table/changes.ts";
// The arguments of Table.sort().
export type { SortOrder, SortValue } from "./client/table/ranking.ts";
// The row of a domain in a table.
export type { TableRow } from "./client/table/rows.ts";
export { Table, type TableOptions } from "./client/table.ts";
// What a driver knows of its domains besides their statistics.
export type { Description, DescriptionReader, Descriptions } from "./driver/description.ts";
// The interface of drivers, and the options of connect().
export type {
  ConnectionState,
  ConnectionStatus,
  Driver,
  HostVersions,
  OpenDriver,
  OpenOptions,
  ReconnectOptions,
  SocketOptions,
  SweepContext,
} from "./driver/driver.ts";
export { registerDriver } from "./driver/registry.ts";
// The storage pools of a host, which the page for Prometheus shows.
export type { PoolUsage, StoragePool, StoragePools } from "./driver/storage-pools.ts";
export {
  ERROR_CODES,
  type ErrorCode,
  type LibvirtErrorInfo,
  VirstreamError,
  type VirstreamErrorDetails,
} from "./model/error.ts";
export { FIELDS, type Field, type FieldKind, fieldOf, type KnownKey, type KnownValue } from "./model/field/field.ts";
export { GROUPS, type Group, groupMask, groupNames, type KnownGroup } from "./model/group.ts";
export { type Param, type ParamTree, type ParamValue, TypedParams, type TypedParamsClass } from "./model/params.ts";
export { LIST_FILTERS, type ListFilter, StatsFlag, type StatsQuery } from "./model/query.ts";
export {
  type Absent,
  Domain,
  type DomainIdentity,
  domainKey,
  type FailedRecord,
  type GoneRecord,
  type OkRecord,
  type PartialRecord,
  type RecordConstructor,
  type Recorded,
  type RecordInit,
  type RecordMembers,
  type RecordReason,
  type RecordStatus,
  type SweepSummary,
} from "./model/record.ts";
export { DomainStatsRecord, type DomainStatsRecordClass } from "./model/record-json.ts";
export { type ParamTypeName, Schema } from "./model/schema.ts";
export { type StateWords, stateWords } from "./model/state.ts";
// The options and the events of watch().
export type {
  Cadence,
  GapEvent,
  GapReason,
  StatusEvent,
  SyncEvent,
  WatchEvent,
  WatchMode,
  WatchOptions,
  WatchSink,
  WatchState,
} from "./model/watch.ts";
// The figures that a connection counts.
export type { SweepFigures } from "./sampling/metrics.ts";
// The type of `Connection.sampling`, and the figures that its snapshot() returns.
export type { Sampling, SamplingFigures } from "./sampling/sampling.ts";
export { VERSION } from "./version.ts";
