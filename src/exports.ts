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
export type * from "./client/rates/domain-rates.ts";
export { StatsStream, Stream, WatchStream } from "./client/stream.ts";
export type { SweepEvent } from "./client/sweep-events.ts";
export type { TableChange } from "./client/table/changes.ts";
export type { SortOrder, SortValue } from "./client/table/ranking.ts";
export type { TableRow } from "./client/table/rows.ts";
export { Table, type TableOptions } from "./client/table.ts";
export type { Description, DescriptionReader, Descriptions } from "./driver/description.ts";
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
export type { SweepFigures } from "./sampling/metrics.ts";
export type { Sampling, SamplingFigures } from "./sampling/sampling.ts";
export { VERSION } from "./version.ts";
