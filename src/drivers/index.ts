/**
 * For programs that have their own driver: the Driver interface, the registration of a driver, and the parts of a
 * record.
 *
 * @module virstream/drivers
 */

// For a driver that can read the definitions of its domains, libvirt's domain XML.
export type { Description, DescriptionReader, Descriptions } from "../driver/description.ts";
export {
  type ConnectionState,
  type ConnectionStatus,
  type Driver,
  type HostVersions,
  type OpenDriver,
  type OpenOptions,
  type ReconnectOptions,
  type SocketOptions,
  type StatusListener,
  StatusListeners,
  type SweepContext,
} from "../driver/driver.ts";
export { matcherOf } from "../driver/matcher.ts";
export { Queue } from "../driver/queue.ts";
export { openDriver, registerDriver } from "../driver/registry.ts";
// For a driver whose host has storage pools.
export type { PoolUsage, StoragePool, StoragePools } from "../driver/storage-pools.ts";
export { STATE_NUMBERS } from "../model/field/state-numbers.ts";
export { type Group, groupMask, groupNames, MONITOR_FREE_GROUPS } from "../model/group.ts";
export { TypedParams } from "../model/params.ts";
export { type DomainSelector, FILTER_MASK, LIST_FILTERS, type Query, StatsFlag } from "../model/query.ts";
export { type Absent, Domain, type RecordInit } from "../model/record.ts";
export { DomainStatsRecord } from "../model/record-json.ts";
export { ParamType, type ParamTypeCode, Schema } from "../model/schema.ts";
export { SchemaTable } from "../model/schema-table.ts";
// A driver that has a `watch` of its own passes the events to a WatchSink.
export type { WatchSink } from "../model/watch.ts";
