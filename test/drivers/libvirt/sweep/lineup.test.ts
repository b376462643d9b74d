import { describe, expect, it } from "vitest";
import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import { Batch, BatchSize } from "../../../../src/drivers/libvirt/sweep/batch.ts";
import type { Calls } from "../../../../src/drivers/libvirt/sweep/calls.ts";
import type { Inquiry } from "../../../../src/drivers/libvirt/sweep/inquiry.ts";
import { Lineup } from "../../../../src/drivers/libvirt/sweep/lineup.ts";
import { Task } from "../../../../src/drivers/libvirt/sweep/task.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { OWNER } from "./caller.ts";

/** A line-up of domains that need no monitor, with what it puts in line, and whom it gives up. */
function setUp() {
  const waiting: Inquiry[] = [];
  const givenUp: string[] = [];
  const admission = new Admission({ now: () => 0 });
  const host = {
    admission,
    owner: OWNER,
    batchSize: new BatchSize(),
    crowded: () => {},
    call: () => Promise.reject(new Error("nothing is called here")),
  };
  const calls = { wait: (inquiries: readonly Inquiry[]) => void waiting.push(...inquiries) } as unknown as Calls;
  const lineup = new Lineup(host, calls, "free", (task, reason) => void givenUp.push(`${task.name} ${reason}`));
  const tasks = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => new Task(from + i, "ask", "free", uuidOf(from + i), `vm${from + i}`));
  return { waiting, givenUp, lineup, tasks };
}

describe("A line-up of batches", () => {
  it("asks those who enter after every batch has waited in vain: none of the lost ones keeps their place", () => {
    const { waiting, givenUp, lineup, tasks } = setUp();
    lineup.enter(tasks(0, 100));
    const lost = waiting.splice(0);
    expect(lost.length).toBeGreaterThan(1);
    for (const batch of lost) {
      expect(batch).toBeInstanceOf(Batch);
      lineup.forgo("busy");
    }
    expect(givenUp).toHaveLength(100);
    lineup.enter(tasks(100, 1));
    expect(waiting).toHaveLength(1);
    expect(lineup.take().map(({ name }) => name)).toEqual(["vm100"]);
  });
});
