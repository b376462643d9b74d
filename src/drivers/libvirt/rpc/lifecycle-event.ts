import { type RemoteDomain, readDomain } from "./remote-domain.ts";
import type { XdrReader } from "./xdr.ts";

/** The procedure number of the message DOMAIN_EVENT_CALLBACK_LIFECYCLE. */
export const LIFECYCLE_EVENT = 318;

/** The changes that libvirt reports (virDomainEventType). */
export const LifecycleEventType = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  shutdown: 6,
  pmsuspended: 7,
  crashed: 8,
} as const;

/** A change of a domain. */
export interface LifecycleEvent {
  readonly domain: RemoteDomain;
  /** One of LifecycleEventType; newer daemons may send others. */
  readonly type: number;
  /** The cause; its meaning depends on the type. */
  readonly detail: number;
}

/** Reads a remote_domain_event_callback_lifecycle_msg. */
export function readLifecycleEvent(reader: XdrReader): LifecycleEvent {
  reader.int();
  const domain = readDomain(reader);
  return { domain, type: reader.int(), detail: reader.int() };
}
