import { getEventListeners } from "node:events";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { StatusListener } from "../../src/driver/driver.ts";
import { Reconnector, type ReconnectorOptions } from "../../src/driver/reconnector.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";

interface Attempt {
  readonly signal: AbortSignal;
  accept(session: string): void;
  refuse(error: VirstreamError): void;
}

const lost = (message = "it went away") => new VirstreamError("connection-lost", message);
const refused = () => new VirstreamError("unauthenticated", "the token is another one");

/** A reconnector whose peer, clock and dice are in the test's hand. Each wait is as long as its limit. */
class World {
  readonly clock = new ManualClock(0);
  readonly attempts: Attempt[] = [];
  /** Attempts that are not settled. */
  open = 0;
  readonly states: string[] = [];
  readonly released: string[] = [];
  hint = (): void => {};
  /** How many hints are listened for, and how many listeners to the state there are. */
  hintListeners = 0;
  stateListeners = 0;
  readonly reconnector: Reconnector<string>;

  constructor(options: Partial<ReconnectorOptions<string>> = {}) {
    const world = this;
    class Counted extends Reconnector<string> {
      override onStatus(listener: StatusListener): () => void {
        world.stateListeners++;
        const remove = super.onStatus(listener);
        return () => {
          world.stateListeners--;
          remove();
        };
      }
    }
    this.reconnector = new Counted({
      name: () => "ws://peer",
      host: () => "peer",
      open: (signal) => this.#attempt(signal),
      release: async (session) => void this.released.push(session),
      onHint: (hint) => {
        this.hint = hint;
        this.hintListeners++;
        return () => {
          this.hintListeners--;
          this.hint = () => {};
        };
      },
      clock: this.clock,
      ...options,
    });
    this.reconnector.onStatus(({ state, host, error }) => {
      expect([host, error]).toEqual(["peer", this.reconnector.failure ?? this.reconnector.error]);
      this.states.push(state);
    });
  }

  static async connected(options?: Partial<ReconnectorOptions<string>>): Promise<World> {
    const world = new World(options);
    const connecting = world.reconnector.connect();
    world.last.accept("s0");
    await connecting;
    return world;
  }

  get last(): Attempt {
    return this.attempts.at(-1)!;
  }

  /** Lets time pass, and everything happen that comes of it. */
  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await turn();
  }

  #attempt(signal: AbortSignal): Promise<string> {
    this.open++;
    let giveUp = (): void => {};
    return new Promise<string>((resolve, reject) => {
      giveUp = () => reject(signal.reason);
      signal.addEventListener("abort", giveUp);
      this.attempts.push({ signal, accept: resolve, refuse: reject });
    }).finally(() => {
      signal.removeEventListener("abort", giveUp);
      this.open--;
    });
  }
}

beforeEach(() => void vi.spyOn(Math, "random").mockReturnValue(1));
afterEach(() => void vi.restoreAllMocks());

const neverAborted = () => new AbortController().signal;
const codeOf = (work: Promise<unknown>) => work.then(String, (error: VirstreamError) => error.code);

describe("A reconnector", () => {
  it("makes one attempt at first, and no other when that one fails", async () => {
    const world = new World();
    const connecting = codeOf(world.reconnector.connect());
    world.last.refuse(lost());
    expect(await connecting).toBe("connection-lost");
    await world.pass(3_600_000);
    expect([world.attempts.length, world.clock.timers]).toEqual([1, 0]);
  });

  it("makes more attempts after the first one when its owner wants it to", async () => {
    const world = new World();
    const connecting = codeOf(world.reconnector.connect());
    world.last.refuse(lost());
    await connecting;
    world.reconnector.retry();
    await world.pass(250);
    world.last.accept("s1");
    await turn();
    world.reconnector.retry();
    expect([world.reconnector.session, world.reconnector.error]).toEqual(["s1", undefined]);
    expect(world.states).toEqual(["connected"]);
  });

  it("gives the first attempt up with the signal's reason", async () => {
    const world = new World();
    const reason = new Error("enough");
    await expect(world.reconnector.connect(AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(world.attempts).toEqual([]);
    const abort = new AbortController();
    const connecting = world.reconnector.connect(abort.signal);
    abort.abort(reason);
    await expect(connecting).rejects.toBe(reason);
    expect(world.last.signal.aborted).toBe(true);
    expect(getEventListeners(abort.signal, "abort")).toEqual([]);
  });

  it("tries again after a loss with growing waits, and says so once", async () => {
    const world = await World.connected();
    world.reconnector.lost(lost(), "s0");
    for (const wait of [250, 500, 1_000, 2_000]) {
      const { length } = world.attempts;
      await world.pass(wait - 1);
      expect(world.attempts).toHaveLength(length);
      await world.pass(1);
      expect(world.attempts).toHaveLength(length + 1);
      world.last.refuse(lost(`attempt ${length}`));
      await turn();
      expect(world.reconnector.error?.message).toBe(`attempt ${length}`);
    }
    await world.pass(4_000);
    world.last.accept("s1");
    await turn();
    expect(world.reconnector).toMatchObject({ session: "s1", error: undefined, unreachable: undefined });
    expect(world.states).toEqual(["connected", "reconnecting", "connected"]);
    expect(world.hintListeners).toBe(0);
    // A session that lived for 30 s was a good one.
    await world.pass(30_000);
    world.reconnector.lost(lost(), "s1");
    await world.pass(250);
    expect(world.open).toBe(1);
  });

  it("tries again without a wait where its owner says so, but not before the loss has been dealt with", async () => {
    const world = await World.connected({ retryAtOnce: true });
    world.reconnector.lost(lost(), "s0");
    expect(world.attempts).toHaveLength(1);
    await turn();
    expect(world.attempts).toHaveLength(2);
    world.last.refuse(lost());
    await turn();
    expect(world.attempts).toHaveLength(2);
    await world.pass(250);
    expect(world.attempts).toHaveLength(3);
  });

  it("does not wait any longer after a hint", async () => {
    const world = await World.connected();
    world.reconnector.lost(lost(), "s0");
    world.hint();
    await turn();
    expect([world.attempts.length, world.clock.timers]).toEqual([2, 0]);
  });

  it("ignores the loss of a session that is not the current one", async () => {
    const world = await World.connected();
    world.reconnector.lost(lost(), "s0");
    world.reconnector.lost(lost("told twice"), "s0");
    await world.pass(250);
    world.last.accept("s1");
    await turn();
    world.reconnector.lost(lost(), "s0");
    expect([world.reconnector.session, world.reconnector.error]).toEqual(["s1", undefined]);
  });

  it("takes its owner's word that the session serves again", async () => {
    const world = await World.connected();
    world.reconnector.lost(lost(), "s0");
    world.reconnector.restored("s0");
    world.reconnector.restored("s0");
    await world.pass(3_600_000);
    expect([world.attempts.length, world.clock.timers, world.reconnector.session]).toEqual([1, 0, "s0"]);
    expect(world.states).toEqual(["connected", "reconnecting", "connected"]);
  });

  it("makes one attempt at a time, and ignores how one ends that its owner's word has overtaken", async () => {
    const world = await World.connected();
    world.reconnector.lost(lost(), "s0");
    await world.pass(250);
    world.reconnector.restored("s0");
    world.reconnector.lost(lost(), "s0");
    await world.pass(30_000);
    expect([world.open, world.attempts.length, world.clock.timers]).toEqual([1, 2, 0]);
    world.reconnector.restored("s0");
    world.last.refuse(lost());
    await turn();
    expect([world.reconnector.session, world.reconnector.error, world.clock.timers]).toEqual(["s0", undefined, 0]);
  });

  it("says of one loss the same error to all who need a session, with the reason as its cause", async () => {
    const world = await World.connected();
    world.reconnector.lost(new VirstreamError("server-shutdown", "it is shutting down"), "s0");
    const { unreachable } = world.reconnector;
    expect(unreachable).toMatchObject({ code: "connection-lost", cause: { code: "server-shutdown" } });
    expect(unreachable?.message).toBe("ws://peer cannot be reached: it is shutting down");
    expect(world.reconnector.unreachable).toBe(unreachable);
  });

  it.each(["by the loss", "by an attempt"])("ends when it learns %s that trying again cannot help", async (how) => {
    const world = await World.connected();
    world.reconnector.lost(how === "by the loss" ? refused() : lost(), "s0");
    await world.pass(250);
    if (how === "by an attempt") world.last.refuse(refused());
    await world.pass(3_600_000);
    expect([world.clock.timers, world.open]).toEqual([0, 0]);
    expect(world.states.slice(1)).toEqual(how === "by the loss" ? ["closed"] : ["reconnecting", "closed"]);
    expect(world.reconnector.unreachable).toBe(world.reconnector.failure);
    expect(await codeOf(world.reconnector.reached(1_000, neverAborted()))).toBe("unauthenticated");
    await world.reconnector.close(lost());
    expect(world.states.filter((state) => state === "closed")).toHaveLength(1);
  });

  it("goes on after any error where its owner says so", async () => {
    const world = await World.connected({ isPermanent: () => false });
    world.reconnector.lost(refused(), "s0");
    await world.pass(250);
    world.last.accept("s1");
    await turn();
    expect(world.reconnector.session).toBe("s1");
  });

  it("lets callers wait for a session as long as they want to", async () => {
    const world = await World.connected();
    const { reconnector } = world;
    expect(await reconnector.reached(1, neverAborted())).toBe("s0");
    reconnector.lost(lost(), "s0");
    const abort = new AbortController();
    const short = reconnector.reached(249, neverAborted());
    const long = reconnector.reached(1_000, neverAborted());
    const endless = reconnector.reached(Number.POSITIVE_INFINITY, neverAborted());
    const aborted = reconnector.reached(1_000, abort.signal);
    abort.abort();
    expect(await aborted).toBe(undefined);
    expect(await reconnector.reached(1_000, abort.signal)).toBe(undefined);
    await world.pass(249);
    expect(await short).toBe(undefined);
    await world.pass(1);
    world.last.accept("s1");
    expect(await Promise.all([long, endless])).toEqual(["s1", "s1"]);
    expect([world.clock.timers, world.stateListeners]).toEqual([0, 1]);
  });

  it("gives those who waited the session also when it is lost again at once", async () => {
    const world = await World.connected();
    world.reconnector.lost(lost(), "s0");
    const waiting = world.reconnector.reached(1_000, neverAborted());
    world.reconnector.onStatus(({ state }) => {
      if (state === "connected") queueMicrotask(() => world.reconnector.lost(lost(), "s1"));
    });
    await world.pass(250);
    world.last.accept("s1");
    expect(await waiting).toBe("s1");
    expect(world.reconnector.session).toBe(undefined);
  });

  it("ends its session, its attempts, and what waits for either when it is closed", async () => {
    const closed = new VirstreamError("connection-closed", "closed");
    const world = await World.connected();
    await world.reconnector.close(closed);
    await world.reconnector.close(lost());
    expect([world.released, world.states]).toEqual([["s0"], ["connected", "closed"]]);

    for (const ms of [100, 250]) {
      const other = await World.connected();
      other.reconnector.lost(lost(), "s0");
      const waiting = codeOf(other.reconnector.reached(1_000, neverAborted()));
      const abort = new AbortController();
      const aborted = other.reconnector.reached(1_000, abort.signal);
      await other.pass(ms);
      abort.abort();
      await other.reconnector.close(closed);
      expect([await waiting, await aborted]).toEqual(["connection-closed", undefined]);
      expect([other.clock.timers, other.open, other.released]).toEqual([0, 0, []]);
      expect(other.states.slice(1)).toEqual(["reconnecting", "closed"]);
    }
  });

  it("releases a session that is opened after it was closed", async () => {
    const world = new World({ open: () => new Promise((resolve) => setTimeout(resolve, 5, "late")) });
    const connecting = codeOf(world.reconnector.connect());
    await world.reconnector.close(new VirstreamError("connection-closed", "closed"));
    expect(world.released).toEqual(["late"]);
    expect(await connecting).toBe("connection-closed");
  });
});

describe("Whatever becomes of the peer, a reconnector", () => {
  const step = fc.oneof(
    fc.constantFrom("accept", "refuse", "lose", "stale loss", "hint", "restore").map((kind) => ({ kind, ms: 0 })),
    fc.record({ kind: fc.constant("pass"), ms: fc.nat(40_000) }),
  );
  const end = fc.constantFrom("close", "permanent loss", "permanent refusal", "none");

  it("has one session or one attempt at most, and each change of its state is reported once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), end, fc.boolean(), async (steps, end, retryAtOnce) => {
        const world = await World.connected({ retryAtOnce });
        const { reconnector } = world;
        let sessions = 0;
        const act = async (kind: string, ms = 0): Promise<void> => {
          const error = kind.startsWith("permanent") ? refused() : lost();
          if (kind === "accept" && world.open > 0) world.last.accept(`s${++sessions}`);
          if (kind.endsWith("refuse") || kind.endsWith("refusal")) world.last.refuse(error);
          if (kind.endsWith("lose") || kind.endsWith("permanent loss")) {
            if (reconnector.session !== undefined) reconnector.lost(error, reconnector.session);
          }
          if (kind === "stale loss") reconnector.lost(error, "an earlier one");
          if (kind === "hint") world.hint();
          // Restored by other means than an attempt: only while there is none.
          if (kind === "restore" && world.open === 0) reconnector.restored(`s${++sessions}`);
          if (kind === "close") await reconnector.close(error);
          await world.pass(ms);
          expect(world.open).toBeLessThanOrEqual(1);
          if (reconnector.session !== undefined) expect(world.open).toBe(0);
          expect(reconnector.session === undefined).toBe(reconnector.error !== undefined);
          expect(reconnector.unreachable === undefined).toBe(reconnector.error === undefined);
          const trying = world.open + world.clock.timers;
          expect(trying).toBe(reconnector.session === undefined && reconnector.failure === undefined ? 1 : 0);
        };
        for (const { kind, ms } of steps) await act(kind, ms);
        await act(end, 30_000);
        for (const [i, state] of world.states.entries()) expect(state).not.toBe(world.states[i + 1]);
        expect(world.states.indexOf("closed")).toBe(reconnector.failure === undefined ? -1 : world.states.length - 1);
        await reconnector.close(lost());
        expect([world.clock.timers, world.open, reconnector.session]).toEqual([0, 0, undefined]);
      }),
      { numRuns: 300 },
    );
  });

  it("has a session again within 30 s and one attempt after the peer answers again", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(60_000), { maxLength: 30 }), async (pauses) => {
        const world = await World.connected();
        world.reconnector.lost(lost(), "s0");
        for (const ms of pauses) {
          await world.pass(ms);
          if (world.open > 0) world.last.refuse(lost());
          await turn();
        }
        await world.pass(30_000);
        world.last.accept("s1");
        await turn();
        expect(world.reconnector.session).toBe("s1");
      }),
      { numRuns: 50 },
    );
  });
});
