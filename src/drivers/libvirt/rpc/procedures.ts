import { DOMAIN_LIST_MAX, type RemoteDomain, readDomain, readDomains, writeDomain } from "./remote-domain.ts";
import type { StatsReader, StatsReply } from "./stats-reply.ts";
import { malformed, type XdrReader, type XdrWriter } from "./xdr.ts";

/**
 * The procedures of libvirt's remote protocol that this driver can send. The table is an allow-list: the client refuses
 * every other procedure, so no code here can change a domain or a host. Names and numbers are those of libvirt's
 * src/remote/remote_protocol.x (REMOTE_PROC_*), where they never change.
 */

/** The context of a decoder. */
export interface DecodeContext {
  /** Reads statistics replies, and remembers their keys. */
  readonly stats: StatsReader;
}

/** One procedure: how to encode its arguments, how to decode its result, and why it does no harm. */
export interface Procedure<Args, Result> {
  readonly name: string;
  readonly number: number;
  readonly harmless: string;
  encode(writer: XdrWriter, args: Args): void;
  decode(reader: XdrReader, context: DecodeContext): Result;
}

const AUTH_TYPES_MAX = 20;

/** The ways of authentication (remote_auth_type). */
export const AuthType = { none: 0, sasl: 1, polkit: 2 } as const;

/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE. Asking for this feature makes the daemon start its pings. */
export const FEATURE_KEEPALIVE = 10;

/** VIR_DRV_FEATURE_REMOTE_EVENT_CALLBACK: the procedure `listen` exists (libvirt 1.2.4 and later). */
export const FEATURE_EVENT_CALLBACK = 14;

/** VIR_DOMAIN_EVENT_ID_LIFECYCLE. */
const EVENT_LIFECYCLE = 0;

/** VIR_CONNECT_RO. */
const OPEN_READ_ONLY = 1;

/** The arguments of the statistics call. Groups and flags have libvirt's bits. */
export interface StatsArgs {
  /** No uuid means all domains. */
  readonly uuids: readonly string[];
  readonly groups: number;
  readonly flags: number;
}

/** The states of a domain's monitor (virDomainControlState). */
export const ControlState = { ok: 0, job: 1, occupied: 2, error: 3 } as const;

/** The state of a domain's monitor, as libvirt knows it without using the monitor. */
export interface ControlInfo {
  /** One of ControlState. */
  readonly state: number;
  readonly details: number;
  /** For how long it has been in this state, in ms; 0 for `ok` and `error`. */
  readonly forMs: number;
}

const string = (reader: XdrReader) => reader.string();
const int = (reader: XdrReader) => reader.int();
const ints = (maximum: number) => (reader: XdrReader) =>
  Array.from({ length: reader.count(maximum, 4) }, () => reader.int());
const bool = (reader: XdrReader) => reader.int() !== 0;
const version = (reader: XdrReader) => Number(reader.uhyper());
const nothing = () => {};

const domainAndFlags = (writer: XdrWriter, domain: RemoteDomain) => {
  writeDomain(writer, domain);
  writer.uint(0);
};

/** A procedure without arguments. */
function get<Result>(
  name: string,
  number: number,
  harmless: string,
  decode: Procedure<undefined, Result>["decode"],
): Procedure<undefined, Result> {
  return { name, number, harmless, encode: nothing, decode };
}

/** The procedures, by purpose. */
export const PROCEDURES = {
  authList: get("AUTH_LIST", 66, "reads which authentication the daemon wants", ints(AUTH_TYPES_MAX)),

  authPolkit: get(
    "AUTH_POLKIT",
    70,
    "lets the daemon ask polkit about this process; the daemon answers once polkit has decided",
    bool,
  ),

  supportsFeature: {
    name: "CONNECT_SUPPORTS_FEATURE",
    number: 60,
    harmless: "reads what the daemon can do",
    encode: (writer, feature) => writer.int(feature),
    decode: bool,
  } satisfies Procedure<number, boolean>,

  open: {
    name: "CONNECT_OPEN",
    number: 1,
    harmless: "always opens with the read-only flag: the daemon itself then refuses every call that changes anything",
    encode: (writer, name) => {
      writer.optionalString(name);
      writer.uint(OPEN_READ_ONLY);
    },
    decode: nothing,
  } satisfies Procedure<string, void>,

  close: get("CONNECT_CLOSE", 2, "ends this connection only", nothing),
  type: get("CONNECT_GET_TYPE", 3, "reads the hypervisor's name", string),
  version: get("CONNECT_GET_VERSION", 4, "reads the hypervisor's version", version),
  libVersion: get("CONNECT_GET_LIB_VERSION", 157, "reads the daemon's version", version),
  hostname: get("CONNECT_GET_HOSTNAME", 59, "reads the host's name", string),

  listDomains: {
    name: "CONNECT_LIST_ALL_DOMAINS",
    number: 273,
    harmless: "reads which domains there are; it asks no guest",
    encode: (writer, filter) => {
      writer.int(1);
      writer.uint(filter);
    },
    decode: (reader) => {
      const domains = readDomains(reader);
      const announced = reader.uint();
      if (announced !== domains.length) {
        throw malformed(`a list of ${domains.length} domains announced as ${announced}`);
      }
      return domains;
    },
  } satisfies Procedure<number, RemoteDomain[]>,

  countRunning: get("CONNECT_NUM_OF_DOMAINS", 51, "reads how many domains run; it asks no guest", int),
  countDefined: get(
    "CONNECT_NUM_OF_DEFINED_DOMAINS",
    25,
    "reads how many domains are defined and do not run; it asks no guest",
    int,
  ),

  listIds: {
    name: "CONNECT_LIST_DOMAINS",
    number: 37,
    harmless: "reads the numbers of the running domains; it asks no guest",
    encode: (writer) => writer.int(DOMAIN_LIST_MAX),
    decode: ints(DOMAIN_LIST_MAX),
  } satisfies Procedure<undefined, number[]>,

  lookupById: {
    name: "DOMAIN_LOOKUP_BY_ID",
    number: 22,
    harmless: "reads a running domain's identity",
    encode: (writer, id) => writer.int(id),
    decode: readDomain,
  } satisfies Procedure<number, RemoteDomain>,

  lookupByName: {
    name: "DOMAIN_LOOKUP_BY_NAME",
    number: 23,
    harmless: "reads a domain's identity",
    encode: (writer, name) => writer.string(name),
    decode: readDomain,
  } satisfies Procedure<string, RemoteDomain>,

  lookupByUuid: {
    name: "DOMAIN_LOOKUP_BY_UUID",
    number: 24,
    harmless: "reads a domain's identity",
    encode: (writer, uuid) => writer.uuid(uuid),
    decode: readDomain,
  } satisfies Procedure<string, RemoteDomain>,

  controlInfo: {
    name: "DOMAIN_GET_CONTROL_INFO",
    number: 229,
    harmless: "reads whether the domain's monitor is busy; it does not use the monitor",
    encode: domainAndFlags,
    decode: (reader) => ({ state: reader.uint(), details: reader.uint(), forMs: Number(reader.uhyper()) }),
  } satisfies Procedure<RemoteDomain, ControlInfo>,

  xml: {
    name: "DOMAIN_GET_XML_DESC",
    number: 14,
    harmless: "reads the domain's definition, without its secrets; only `virstream doctor` asks for it",
    encode: domainAndFlags,
    decode: string,
  } satisfies Procedure<RemoteDomain, string>,

  listen: {
    name: "CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY",
    number: 316,
    harmless: "makes the daemon send this connection an event when a domain is defined, undefined, started or stopped",
    encode: (writer) => {
      writer.int(EVENT_LIFECYCLE);
      // No domain means every domain.
      writer.uint(0);
    },
    decode: (reader) => reader.int(),
  } satisfies Procedure<undefined, number>,

  stats: {
    name: "CONNECT_GET_ALL_DOMAIN_STATS",
    number: 344,
    harmless:
      "reads statistics; it occupies a worker of the daemon and the domain's query job while a guest's monitor answers",
    encode: (writer, { uuids, groups, flags }) => {
      writer.uint(uuids.length);
      for (const uuid of uuids) {
        // The daemon uses the uuid only. The reply has the real name and id.
        writer.string("");
        writer.uuid(uuid);
        writer.int(-1);
      }
      writer.uint(groups);
      writer.uint(flags);
    },
    decode: (reader, { stats }) => stats.read(reader),
  } satisfies Procedure<StatsArgs, StatsReply>,
} as const;

const allowed: ReadonlySet<unknown> = new Set(Object.values(PROCEDURES).map((procedure) => Object.freeze(procedure)));

/** Whether this very object is in the table; a copy with another number is not. */
export function isAllowed(procedure: unknown): boolean {
  return allowed.has(procedure);
}
