import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import { checkCadence, type WatchOptions } from "../../src/model/watch.ts";

describe("how to watch", () => {
  it("has defaults for everything", () => {
    expect(checkCadence()).toEqual({ intervalMs: 1_000, mode: "sample", heartbeatMs: 0 });
    expect(checkCadence({ mode: "on-change" })).toEqual({ intervalMs: 1_000, mode: "on-change", heartbeatMs: 30_000 });
    expect(checkCadence({ mode: "on-change", intervalMs: 60_000 }).heartbeatMs).toBe(60_000);
  });

  it.each<[WatchOptions]>([
    [{ intervalMs: 10 }],
    [{ intervalMs: 3_600_000 }],
    [{ mode: "on-change", intervalMs: 500, heartbeatMs: 500 }],
    [{ mode: "on-change", heartbeatMs: 86_400_000 }],
  ])("may be anything up to the limits: %j", (options) => {
    expect(checkCadence(options)).toMatchObject(options);
  });

  it.each<[unknown, string]>([
    [{ intervalMs: 9 }, "from 10 to 3600000, not 9"],
    [{ intervalMs: 3_600_001 }, "from 10 to 3600000"],
    [{ intervalMs: 100.5 }, "a whole number"],
    [{ intervalMs: "1s" }, 'not "1s"'],
    [{ intervalMs: Number.NaN }, "intervalMs must be a whole number"],
    [{ mode: "once" }, 'mode must be sample or on-change, not "once"'],
    [{ heartbeatMs: 5_000 }, "goes with the mode on-change"],
    [{ mode: "on-change", heartbeatMs: 999 }, "from the interval, 1000, to 86400000, not 999"],
    [{ mode: "on-change", heartbeatMs: 86_400_001 }, "from the interval"],
    [{ mode: "on-change", heartbeatMs: null }, "from the interval, 1000, to 86400000, not null"],
    [{ signal: new AbortController() }, "signal must be an AbortSignal, not an object"],
    [null, "a watch must be an object, not null"],
    [{ interval: 1_000 }, 'a watch has no member "interval": it has intervalMs, mode, heartbeatMs, signal'],
  ])("is refused with what would be right: %j", (options, message) => {
    const check = () => checkCadence(options as WatchOptions);
    expect(check).toThrow(VirstreamError);
    expect(check).toThrow(message);
    expect(check).toThrow(expect.objectContaining({ code: "invalid-argument" }));
  });
});
