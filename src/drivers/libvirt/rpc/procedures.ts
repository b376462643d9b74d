import type { TypedParams } from "../../../model/params.ts";
import { DOMAIN_LIST_MAX, type RemoteDomain, readDomain, readDomains, writeDomain } from "./remote-domain.ts";
import { readPoolInfo, readPools, writePool } from "./remote-pool.ts";
import { readState, type StatsReader, type StatsReply } from "./stats-reply.ts";
import { invalidMessage, NAME_MAX, type XdrReader, type XdrWriter } from "./xdr.ts";

/**
 * The procedures of libvirt's remote protocol that this driver can send. The table is an allow-list: the client refuses
 * every other procedure, so no code here can change a domain or a host. Names and numbers are those of libvirt's
 * src/remote/remote_protocol.x (REMOTE_PROC_*). libvirt never changes them.
 */

/** One procedure: how to encode its arguments, how to decode its result, and why it does no harm. */
export interface Procedure<Args, Result> {
  readonly name: string;
  readonly number: number;
  readonly harmless: string;
  encode(writer: XdrWriter, args: Args): void;
  /** @param stats reads statistics replies, and remembers their keys */
  decode(reader: XdrReader, stats: StatsReader): Result;
}

/** The ways of authentication (remote_auth_type). */
export const AuthType = { none: 0, sasl: 1, polkit: 2 } as const;

/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE. Asking for this feature makes the daemon start its pings. */
export const FEATURE_KEEPALIVE = 10;

/**
 * VIR_DRV_FEATURE_REMOTE_EVENT_CALLBACK. A daemon with this feature has the procedure `listen` (libvirt 1.2.4 and
 * later).
 */
export const FEATURE_EVENT_CALLBACK = 14;

/** The arguments of the statistics call. `groups` and `flags` are masks of libvirt's bits. */
export interface StatsArgs {
  /** No uuid means all domains. */
  readonly uuids: readonly string[];
  readonly groups: number;
  readonly flags: number;
}

/** One disk of a domain. */
export interface DiskArgs {
  readonly domain: RemoteDomain;
  /** The disk's name in the guest, such as `vda`. */
  readonly target: string;
}

/** REMOTE_DOMAIN_BLOCK_IO_TUNE_PARAMETERS_MAX: the most I/O limits of a disk in one reply. */
const IO_TUNE_MAX = 32;

/**
 * The number of a virtual CPU, and of the host's CPU on which it runs. `cpu` is −1 while the virtual CPU runs on none.
 */
export interface VcpuInfo {
  readonly number: number;
  readonly cpu: number;
}

/**
 * A call asks for at most this many virtual CPUs. The protocol allows 16,384 (REMOTE_VCPUINFO_MAX), but libvirt
 * allocates an answer of the requested length.
 */
const VCPUS_MAX = 4_096;
/** The size of a remote_vcpu_info in a message, in bytes. */
const VCPU_BYTES = 20;

/** The states of a domain's monitor (virDomainControlState). */
export const ControlState = { ok: 0, job: 1, occupied: 2, error: 3 } as const;
/** VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR: the value of `details` when libvirt has lost the monitor for good. */
const MONITOR_BROKEN = 2;

/** The state of a domain's monitor, as libvirt knows it without using the monitor. */
export interface ControlInfo {
  /** One of ControlState. */
  readonly state: number;
  readonly details: number;
  /** How long the monitor has been in this state, in ms; 0 for `ok` and `error`. */
  readonly forMs: number;
}

/**
 * True if libvirt has lost the monitor for good. The state `error` alone does not show this, because libvirt also
 * reports `error` between two commands of one call.
 */
export function isMonitorBroken({ state, details }: ControlInfo): boolean {
  return state === ControlState.error && details === MONITOR_BROKEN;
}

/** A disk of a running domain on which a request failed (virDomainDiskError). */
export interface DiskError {
  /** The target in the guest, such as `vda`. */
  readonly disk: string;
  readonly error: "unspecified" | "no space";
}

/** VIR_DOMAIN_DISK_ERROR_NO_SPACE: a request failed because the storage was full. */
const DISK_NO_SPACE = 2;
/** REMOTE_DOMAIN_DISK_ERRORS_MAX: the most disks in one reply. */
const DISK_ERRORS_MAX = 256;

/** libvirt's report on a domain's job, such as a migration. */
export interface JobStats {
  /** virDomainJobType: 0 without a job. */
  readonly type: number;
  /** `operation`, `time_elapsed`, `data_total` and others. */
  readonly params: TypedParams;
}

const string = (reader: XdrReader) => reader.string();
const name = (reader: XdrReader) => reader.string(NAME_MAX);
const int = (reader: XdrReader) => reader.int();
const ints = (maximum: number) => (reader: XdrReader) =>
  Array.from({ length: reader.count(maximum, 4) }, () => reader.int());
const bool = (reader: XdrReader) => reader.int() !== 0;
const version = (reader: XdrReader) => reader.uhyper();
const nothing = () => {};

const noArgs = (_writer: XdrWriter, _args: undefined) => {};
const writeInt = (writer: XdrWriter, value: number) => writer.int(value);
const writeDomainAndFlags = (writer: XdrWriter, domain: RemoteDomain) => {
  writeDomain(writer, domain);
  writer.uint(0);
};

function procedure<Args, Result>(
  name: string,
  number: number,
  encode: Procedure<Args, Result>["encode"],
  decode: Procedure<Args, Result>["decode"],
  harmless: string,
): Procedure<Args, Result> {
  return Object.freeze({ name, number, harmless, encode, decode });
}

/** The procedures, by purpose. */
export const PROCEDURES = {
  authList: procedure("AUTH_LIST", 66, noArgs, ints(20), "reads which authentication the daemon wants"),
  authPolkit: procedure(
    "AUTH_POLKIT",
    70,
    noArgs,
    bool,
    "lets the daemon ask polkit about this process; the daemon answers once polkit has decided",
  ),
  supportsFeature: procedure("CONNECT_SUPPORTS_FEATURE", 60, writeInt, bool, "reads what the daemon can do"),
  open: procedure(
    "CONNECT_OPEN",
    1,
    (writer, name: string) => {
      // The flag of an optional value: a name follows.
      writer.uint(1);
      writer.string(name);
      // VIR_CONNECT_RO
      writer.uint(1);
    },
    nothing,
    "always opens with the read-only flag: the daemon itself then refuses every call that changes anything",
  ),
  close: procedure("CONNECT_CLOSE", 2, noArgs, nothing, "ends this connection only"),
  type: procedure("CONNECT_GET_TYPE", 3, noArgs, name, "reads the hypervisor's name"),
  version: procedure("CONNECT_GET_VERSION", 4, noArgs, version, "reads the hypervisor's version"),
  libVersion: procedure("CONNECT_GET_LIB_VERSION", 157, noArgs, version, "reads the daemon's version"),
  hostname: procedure("CONNECT_GET_HOSTNAME", 59, noArgs, name, "reads the host's name"),
  listDomains: procedure(
    "CONNECT_LIST_ALL_DOMAINS",
    273,
    (writer, filter: number) => {
      writer.int(1);
      writer.uint(filter);
    },
    (reader) => {
      const domains = readDomains(reader);
      const announced = reader.uint();
      if (announced !== domains.length) {
        throw invalidMessage(`a list of ${domains.length} domains announced as ${announced}`);
      }
      if (new Set(domains.map(({ uuid }) => uuid)).size < announced) {
        throw invalidMessage("a list with one domain twice");
      }
      return domains;
    },
    "reads which domains there are; it asks no guest",
  ),
  countRunning: procedure("CONNECT_NUM_OF_DOMAINS", 51, noArgs, int, "reads how many domains run; it asks no guest"),
  countDefined: procedure(
    "CONNECT_NUM_OF_DEFINED_DOMAINS",
    25,
    noArgs,
    int,
    "reads how many domains are defined and do not run; it asks no guest",
  ),
  listIds: procedure(
    "CONNECT_LIST_DOMAINS",
    37,
    (writer, _args: undefined) => writer.int(DOMAIN_LIST_MAX),
    ints(DOMAIN_LIST_MAX),
    "reads the numbers of the running domains; it asks no guest",
  ),
  lookupById: procedure("DOMAIN_LOOKUP_BY_ID", 22, writeInt, readDomain, "reads a running domain's identity"),
  lookupByName: procedure(
    "DOMAIN_LOOKUP_BY_NAME",
    23,
    (writer, name: string) => writer.string(name),
    readDomain,
    "reads a domain's identity",
  ),
  lookupByUuid: procedure(
    "DOMAIN_LOOKUP_BY_UUID",
    24,
    (writer, uuid: string) => writer.uuid(uuid),
    readDomain,
    "reads a domain's identity",
  ),
  controlInfo: procedure(
    "DOMAIN_GET_CONTROL_INFO",
    229,
    writeDomainAndFlags,
    (reader): ControlInfo => ({ state: reader.uint(), details: reader.uint(), forMs: reader.uhyper() }),
    "reads whether the domain's monitor is busy; it does not use the monitor",
  ),
  state: procedure(
    "DOMAIN_GET_STATE",
    212,
    writeDomainAndFlags,
    readState,
    "reads a domain's state from libvirt's own records; it does not use the monitor",
  ),
  xml: procedure(
    "DOMAIN_GET_XML_DESC",
    14,
    writeDomainAndFlags,
    string,
    "reads the domain's definition, without its secrets; it does not use the monitor, but waits for the query job in libvirt 11 and later",
  ),
  blockIoTune: procedure(
    "DOMAIN_GET_BLOCK_IO_TUNE",
    253,
    (writer, { domain, target }: DiskArgs) => {
      writeDomain(writer, domain);
      // The flag of an optional value: a disk follows.
      writer.uint(1);
      writer.string(target);
      writer.int(IO_TUNE_MAX);
      writer.uint(0);
    },
    (reader, stats): TypedParams => stats.params(reader, IO_TUNE_MAX),
    "reads the I/O limits of one disk; it uses the guest's monitor, so the same limits apply as to the statistics call; only for metrics that must be asked for; and for an [examination](#how-many-calls) of a guest with slow disks",
  ),
  vcpus: procedure(
    "DOMAIN_GET_VCPUS",
    20,
    (writer, domain: RemoteDomain) => {
      writeDomain(writer, domain);
      writer.int(VCPUS_MAX);
      // Asks for no affinity masks.
      writer.int(0);
    },
    (reader): VcpuInfo[] =>
      Array.from({ length: reader.count(VCPUS_MAX, VCPU_BYTES) }, () => {
        const number = reader.uint();
        // Skips the state and the CPU time, which the statistics already have.
        reader.skip(12);
        return { number, cpu: reader.int() };
      }),
    "reads from the kernel on which CPUs a guest's virtual CPUs run; it does not use the monitor; only for a metric that must be asked for",
  ),
  listPools: procedure(
    "CONNECT_LIST_ALL_STORAGE_POOLS",
    281,
    (writer, _args: undefined) => {
      writer.int(1);
      // No flag means all pools, also those that are not active.
      writer.uint(0);
    },
    (reader) => {
      const pools = readPools(reader);
      const announced = reader.uint();
      if (announced !== pools.length) throw invalidMessage(`a list of ${pools.length} pools announced as ${announced}`);
      return pools;
    },
    "reads which storage pools there are; it does not look at the storage, but waits while a pool is being refreshed; only for metrics that must be asked for",
  ),
  poolInfo: procedure(
    "STORAGE_POOL_GET_INFO",
    87,
    writePool,
    readPoolInfo,
    "reads a storage pool's size from libvirt's own records; it does not look at the storage, but waits while the pool is being refreshed; only for metrics that must be asked for",
  ),
  diskErrors: procedure(
    "DOMAIN_GET_DISK_ERRORS",
    263,
    (writer, domain: RemoteDomain) => {
      writeDomain(writer, domain);
      writer.uint(DISK_ERRORS_MAX);
      writer.uint(0);
    },
    (reader) => {
      const errors = Array.from({ length: reader.count(DISK_ERRORS_MAX, 8) }, (): DiskError => {
        const disk = reader.string(NAME_MAX);
        return { disk, error: reader.int() === DISK_NO_SPACE ? "no space" : "unspecified" };
      });
      // The number of disks with errors follows. It is not needed, because the list has all of them.
      reader.int();
      return errors;
    },
    "reads which disk failed; it asks QEMU, so only an [examination](#how-many-calls) calls it, for a guest that its storage paused and whose monitor is free",
  ),
  jobStats: procedure(
    "DOMAIN_GET_JOB_STATS",
    298,
    writeDomainAndFlags,
    (reader, stats): JobStats => ({ type: reader.int(), params: stats.params(reader) }),
    "reads which job a domain has and how far it is; it may ask QEMU, so only an [examination](#how-many-calls) calls it, while a job runs",
  ),
  listen: procedure(
    "CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY",
    316,
    (writer, event: number) => {
      writer.int(event);
      // The flag of an optional value: no domain follows, which means every domain.
      writer.uint(0);
    },
    int,
    "makes the daemon send this connection an event when a domain is defined, undefined, started, stopped or changed",
  ),
  stats: procedure(
    "CONNECT_GET_ALL_DOMAIN_STATS",
    344,
    (writer, { uuids, groups, flags }: StatsArgs) => {
      writer.uint(uuids.length);
      // The daemon uses the uuid only, and the reply has the real name and id.
      for (const uuid of uuids) writeDomain(writer, { name: "", uuid, id: -1 });
      writer.uint(groups);
      writer.uint(flags);
    },
    (reader, stats): StatsReply => stats.read(reader),
    "reads statistics; it occupies a worker of the daemon and the domain's query job while a guest's monitor answers",
  ),
} as const;

const allowed: ReadonlySet<unknown> = new Set(Object.values(PROCEDURES));

/** True if this very object is in PROCEDURES. So a changed copy, with another number, is not allowed. */
export function isAllowed(procedure: unknown): boolean {
  return allowed.has(procedure);
}
