import { describe, expect, it } from "vitest";
import { LifecycleEventType, readLifecycleEvent } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { XdrReader } from "../../../../src/drivers/libvirt/rpc/xdr.ts";

const UUID = "01234567-89ab-cdef-0123-456789abcdef";
const UUID_HEX = "0123456789abcdef0123456789abcdef";

/** remote_domain_event_callback_lifecycle_msg, written by hand: callbackID, dom, event, detail. */
const STARTED = `00000003${"00000003766d3100"}${UUID_HEX}00000005${"00000002"}${"00000001"}`;
const DESTROYED = `00000003${"00000003766d3100"}${UUID_HEX}ffffffff${"00000005"}${"00000001"}`;
const UNKNOWN = `00000003${"00000003766d3100"}${UUID_HEX}00000005${"00000063"}${"fffffffe"}`;

function read(hex: string) {
  const reader = new XdrReader(Buffer.from(hex, "hex"));
  const event = readLifecycleEvent(reader);
  expect(reader.remaining).toBe(0);
  return event;
}

describe("The bytes of a lifecycle event", () => {
  it("are the callback's number, the domain, what happened, and more exactly what, which nothing needs", () => {
    const domain = { name: "vm1", uuid: UUID, id: 5 };
    expect(read(STARTED)).toEqual({ domain, type: LifecycleEventType.started });
  });

  it("name a domain that has stopped without a number", () => {
    const domain = { name: "vm1", uuid: UUID, id: -1 };
    expect(read(DESTROYED)).toEqual({ domain, type: LifecycleEventType.stopped });
  });

  it("may tell of what only a newer daemon knows", () => {
    expect(read(UNKNOWN)).toMatchObject({ type: 99 });
  });

  it("that end too early are a malformed message", () => {
    for (let length = 0; length < STARTED.length; length += 8) {
      const reader = new XdrReader(Buffer.from(STARTED.slice(0, length), "hex"));
      expect(() => readLifecycleEvent(reader)).toThrow(/malformed message/);
    }
  });

  it("count the types as libvirt does", () => {
    expect(LifecycleEventType).toEqual({ defined: 0, undefined: 1, started: 2, stopped: 5 });
  });
});
