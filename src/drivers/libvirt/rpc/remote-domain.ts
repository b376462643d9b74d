import { NAME_MAX, type XdrReader, type XdrWriter } from "./xdr.ts";

/** A domain in libvirt's messages (remote_nonnull_domain). */
export interface RemoteDomain {
  readonly name: string;
  /** Lower case, with dashes. */
  readonly uuid: string;
  /** −1 when the domain does not run. */
  readonly id: number;
}

/** REMOTE_DOMAIN_LIST_MAX: the most domains in one request or reply. */
export const DOMAIN_LIST_MAX = 16_384;

/** The bytes of the smallest domain in a message: the length word of an empty name, the uuid, the id. */
export const DOMAIN_BYTES_MIN = 24;

/** Reads a remote_nonnull_domain. */
export function readDomain(reader: XdrReader): RemoteDomain {
  const name = reader.string(NAME_MAX);
  const uuid = reader.uuid();
  return { name, uuid, id: reader.int() };
}

/** Writes a remote_nonnull_domain. */
export function writeDomain(writer: XdrWriter, { name, uuid, id }: RemoteDomain): void {
  writer.string(name);
  writer.uuid(uuid);
  writer.int(id);
}

/** Reads a list of domains, at most DOMAIN_LIST_MAX. */
export function readDomains(reader: XdrReader): RemoteDomain[] {
  const domains: RemoteDomain[] = [];
  for (let left = reader.count(DOMAIN_LIST_MAX, DOMAIN_BYTES_MIN); left > 0; left--) domains.push(readDomain(reader));
  return domains;
}

/** VIR_DOMAIN_EVENT_ID_LIFECYCLE. */
export const LIFECYCLE_EVENT_ID = 0;
/** The procedure number of the message DOMAIN_EVENT_CALLBACK_LIFECYCLE. */
export const LIFECYCLE_EVENT = 318;

/** The types of lifecycle events that virstream uses (virDomainEventType). */
export const LifecycleEventType = { defined: 0, undefined: 1, started: 2, stopped: 5 } as const;

/** The message about a change in a domain's lifecycle, such as its start. */
export interface LifecycleEvent {
  readonly domain: RemoteDomain;
  /** One of LifecycleEventType, or another number of virDomainEventType. */
  readonly type: number;
}

/**
 * The events after which a running domain may have another definition or other I/O limits: their numbers
 * (virDomainEventID), and the procedure numbers of their messages.
 */
export const CHANGE_EVENTS: readonly { readonly id: number; readonly message: number }[] = [
  // A medium was changed.
  { id: 9, message: 327 },
  // A device was removed, or added.
  { id: 15, message: 333 },
  { id: 19, message: 354 },
  // Limits were changed.
  { id: 17, message: 346 },
  // The title, the description or the metadata was changed.
  { id: 23, message: 379 },
];

/** Reads the domain from the message of a lifecycle event, or of one of CHANGE_EVENTS. */
export function readEventDomain(reader: XdrReader): RemoteDomain {
  reader.int();
  return readDomain(reader);
}

/** Reads a remote_domain_event_callback_lifecycle_msg. */
export function readLifecycleEvent(reader: XdrReader): LifecycleEvent {
  const event = { domain: readEventDomain(reader), type: reader.int() };
  // The cause of the change follows. It is not used.
  reader.int();
  return event;
}
