import { describe, expect, it } from "vitest";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { checkCadence } from "../../src/model/watch.ts";
import { SweptFeed } from "../../src/sampling/swept-feed.ts";
import { ServedTicks } from "../lab/served-ticks.ts";
import { TickLedger } from "../lab/tick-ledger.ts";
import { CollectingSink } from "../sampling/collecting-sink.ts";

function record(number: number, sampledAt: number): DomainStatsRecord {
  const uuid = `00000000-0000-4000-8000-00000000000${number}`;
  const domain = new Domain(uuid, `guest-${number}`, number, "hv1");
  return new DomainStatsRecord({
    domain,
    params: TypedParams.EMPTY,
    status: "ok",
    sampledAt,
    tookMs: 0,
    index: number,
  });
}

/** What three sweeps of two domains make of a feed, and the account of it. */
function threeSweeps() {
  const feed = new SweptFeed({ cadence: checkCadence(), host: "hv1", named: false, now: () => 0, over: () => {} });
  const ledger = new TickLedger(new ServedTicks(feed));
  const sink = new CollectingSink();
  feed.listen(sink);
  for (let sweep = 1; sweep <= 3; sweep++) {
    feed.beginSweep();
    feed.takeSwept([record(1, sweep), record(2, sweep)]);
    feed.endSweep({ domains: 2, ok: 2, partial: 0, failed: 0, gone: 0, startedAt: sweep, tookMs: sweep }, 0);
  }
  return { ledger, events: sink.events };
}

/** What the ledger finds in a changed telling of three sweeps: two records and a sync each. */
function found(change: (events: readonly WatchEvent[]) => readonly WatchEvent[]): readonly string[] {
  const { ledger, events } = threeSweeps();
  for (const event of change(events)) ledger.take(event);
  return ledger.broken;
}

const gap = (skipped: number | undefined): WatchEvent => ({
  type: "gap",
  reason: "reconnected",
  skipped,
  host: undefined,
});

describe("The account of a watch", () => {
  it("finds nothing where everything was delivered, or covered by a gap", () => {
    expect(found((events) => events)).toEqual([]);
    expect(found((events) => [...events.slice(0, 3), gap(1), ...events.slice(6)])).toEqual([]);
    expect(found((events) => [...events.slice(0, 3), gap(undefined), ...events.slice(6)])).toEqual([]);
  });

  it.each([
    ["a sweep that is missing", (events) => [...events.slice(0, 3), ...events.slice(6)]],
    ["a gap that is too long", (events) => [...events.slice(0, 3), gap(2), ...events.slice(6)]],
    ["a gap where nothing is missing", (events) => [...events.slice(0, 3), gap(1), ...events.slice(3)]],
    ["a sync that comes twice", (events) => [...events.slice(0, 3), events[2]!, ...events.slice(3)]],
    ["a record that comes twice", (events) => [events[0]!, events[0]!, ...events.slice(1)]],
    ["an older record after a newer one", (events) => [...events.slice(0, 6), events[0]!, ...events.slice(6)]],
    ["a record that is missing", (events) => events.filter((_, i) => i !== 4)],
    ["the end of a domain that was not there", (events) => [{ type: "gone", domain: record(9, 1).domain }, ...events]],
    [
      "the end of a domain that is still there",
      (events) => [...events.slice(0, 5), { type: "gone", domain: record(1, 1).domain }, ...events.slice(5)],
    ],
  ] as [string, (events: readonly WatchEvent[]) => readonly WatchEvent[]][])("finds %s", (_, change) => {
    expect(found(change)).not.toEqual([]);
  });
});
