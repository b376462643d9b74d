import { describe, expect, it } from "vitest";
import { Patience } from "../../../../src/drivers/libvirt/sweep/patience.ts";

function began(domains: number, deadlineMs = 2_000): Patience {
  const patience = new Patience(deadlineMs, 0);
  patience.begin(0, domains);
  patience.joined("slot", domains, 0);
  return patience;
}

describe("Patience", () => {
  it("ends for everyone at the deadline when nothing moves", () => {
    const patience = began(1_000);
    expect(patience.callDueAt("slot", 10)).toBe(2_000);
    expect(patience.dueAt("slot")).toBe(2_000);
  });

  it("lasts as long as a large sweep moves on, and gives each call at least half of the deadline", () => {
    const patience = began(1_000);
    patience.moved("slot", 1_990);
    expect(patience.dueAt("slot")).toBe(2_990);
    expect(patience.callDueAt("slot", 1_990)).toBe(2_990);
  });

  it("ends after 25 ms per domain at the latest, so that slow guests cannot hold up the others without bound", () => {
    const patience = began(40);
    patience.moved("slot", 2_900);
    expect(patience.dueAt("slot")).toBe(3_000);
  });

  it("has nothing to wait for when nobody waits", () => {
    const patience = began(1);
    patience.left("slot");
    expect(patience.dueAt("slot")).toBe(Number.POSITIVE_INFINITY);
    expect(patience.dueAt("rescue")).toBe(Number.POSITIVE_INFINITY);
  });

  it("gives a late domain 500 ms more, as long as rescues move on, and 5 ms for each at most", () => {
    const patience = began(1_000);
    patience.joined("rescue", 100, 2_000);
    expect(patience.callDueAt("rescue", 2_100)).toBe(2_600);
    expect(patience.dueAt("rescue")).toBe(2_500);
    patience.moved("rescue", 2_400);
    expect(patience.dueAt("rescue")).toBe(2_900);
    patience.moved("rescue", 2_800);
    expect(patience.dueAt("rescue")).toBe(3_000);
  });

  it("stands still while the consumer is behind", () => {
    const patience = began(40);
    patience.hold(1_000);
    patience.hold(5_000);
    expect(patience.held).toBe(true);
    expect(patience.dueAt("slot")).toBe(Number.POSITIVE_INFINITY);
    patience.go(61_000);
    expect(patience.held).toBe(false);
    expect(patience.dueAt("slot")).toBe(62_000);
  });
});
