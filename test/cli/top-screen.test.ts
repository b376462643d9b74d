import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { printable, width } from "../../src/cli/format/text.ts";
import { initialState, type Key, press, type ScreenState } from "../../src/cli/top/state.ts";
import { frame, type StyledLine } from "../../src/cli/top/view.ts";
import { RateMeter } from "../../src/client/rates.ts";
import { TableRow } from "../../src/client/table/rows.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, domainKey, type RecordInit } from "../../src/model/record.ts";
import { GuestList } from "../../src/overview/guest-list.ts";

type Params = Parameters<typeof TypedParams.from>[0] extends Iterable<infer Item> ? Item[] : never;

function domain(index: number, host = "hv1", name = `guest-${index}`): Domain {
  return new Domain(`00000000-0000-4000-8000-${String(index).padStart(12, "0")}`, name, index + 1, host);
}

const state = (number: number, reason: number): Params => [
  ["state.state", "int", number],
  ["state.reason", "int", reason],
];

/** Makes rows as a table does: with the rates since the row before. */
class Rows {
  readonly #meter = new RateMeter();
  at = 1_000_000;

  row(index: number, rest: Partial<RecordInit> = {}, params: Params = state(1, 1)): TableRow {
    const record = new DomainStatsRecord({
      ...{
        domain: domain(index),
        params: TypedParams.from(params),
        status: "ok",
        sampledAt: this.at,
        steadyAt: this.at,
      },
      ...{ tookMs: 0.5, index, ...rest },
    });
    return new TableRow(domainKey(record.domain), record, this.#meter.take(record), false, () => this.at);
  }
}

/** A screen with a list, keys and a clock of its own. */
class Screen {
  now = 0;
  readonly list = new GuestList(() => this.now);
  state: ScreenState = initialState(1_000);
  size = { columns: 120, rows: 20 };
  guest: StyledLine[] = [];

  show(rows: readonly TableRow[], absent: readonly string[] = [], hosts: readonly string[] = ["hv1"]): this {
    const error = new VirstreamError("connection-refused", "nothing listens there");
    this.list.update(
      rows,
      absent.map((host) => ({ host, error })),
      hosts,
    );
    return this;
  }

  press(...keys: (string | Key)[]): this {
    for (const each of keys) {
      const key = typeof each === "string" ? { name: each.length > 1 ? each : undefined, sequence: each } : each;
      const lines = this.list.lines(this.state).map((line) => line.key);
      this.state = press(this.state, key, lines, 10);
    }
    return this;
  }

  get frame(): StyledLine[] {
    const { list, state, size, guest } = this;
    const sourceOf = (host: string) => `qemu+ssh://${host}/system`;
    return frame({ list, state, size, guest, sourceOf, source: "qemu:///system", time: "12:04:31", ready: true });
  }

  get texts(): string[] {
    return this.frame.map(({ text }) => text);
  }

  /** The lines of the list. */
  get rows(): StyledLine[] {
    return this.frame.slice(2, -2).filter(({ text }) => text !== "");
  }

  /** The guests in their order. */
  get names(): string[] {
    return this.rows.map(({ text }) => /guest-\d+|\(\d+ guests?\)/.exec(text)![0]);
  }
}

const stuck = { status: "partial", reason: "timeout", missing: ["block"] } as const;

describe("The screen of virstream top", () => {
  it("shows trouble first, in words and in red, never cut at 80 cells, and says since when", () => {
    const screen = new Screen();
    const rows = new Rows();
    screen.size = { columns: 80, rows: 24 };
    const all = () => [
      rows.row(0),
      rows.row(1, {}, state(5, 3)),
      rows.row(2, {}, state(3, 5)),
      rows.row(3, stuck),
      rows.row(4, {}, state(5, 1)),
      rows.row(5, { status: "failed", reason: "denied" }),
    ];
    screen.show(all());
    screen.now += 12_500;
    screen.show(all());
    const lines = screen.rows.map(({ text, style }) => [text.slice(0, 24).trimEnd().replaceAll(/ +/g, " "), style]);
    expect(lines).toEqual([
      ["STUCK 12s guest-3", "alert"],
      ["I/O ERROR guest-2", "alert"],
      ["CRASHED 12s guest-1", "alert"],
      ["DENIED guest-5", "alert"],
      ["running guest-0", "plain"],
      ["shut off guest-4", "plain"],
    ]);
    screen.size = { columns: 100, rows: 24 };
    expect(screen.texts[0]).toMatch(
      /^virstream {2}hv1 {3}6 guests {3}1 stuck {3}1 I\/O error {3}1 crashed {3}1 other trouble /,
    );
  });

  it("names, above the keys, what is wrong with the selected guest, and the command that helps, for a shell", () => {
    const screen = new Screen();
    const rows = new Rows();
    screen.show([rows.row(0), rows.row(1, { ...stuck, domain: domain(1, "hv1", "my guest") })]);
    expect(screen.texts.at(-2)).toBe("my guest: does not answer.  virstream why 'my guest' qemu+ssh://hv1/system");
    screen.press("down", "down");
    expect(screen.texts.at(-2)).toBe("");
  });

  it("names a guest whose disk is slow once it has been so for 3 s, in its place and in yellow, and no longer after 10 s", () => {
    const rows = new Rows();
    const screen = new Screen();
    const disk = (writes: number): Params => [
      ...state(1, 1),
      ["block.count", "uint", 1],
      ["block.0.name", "string", "vda"],
      ["block.0.wr.reqs", "ullong", BigInt(writes)],
      ["block.0.wr.times", "ullong", BigInt(writes) * 400_000_000n],
    ];
    let writes = 0;
    const look = (seconds: number, more: number): StyledLine[] => {
      for (let i = 0; i < seconds; i++) {
        screen.now += 1_000;
        rows.at += 1_000;
        writes += more;
        screen.show([rows.row(0), rows.row(1, {}, disk(writes))]);
      }
      return screen.frame;
    };
    expect(look(4, 2).map(({ text }) => text)).toContainEqual(expect.stringMatching(/^running +guest-1/));
    const slow = look(1, 2);
    expect(slow[3]).toEqual({ text: expect.stringMatching(/^SLOW DISK +guest-1 /), style: "warn" });
    expect(slow[0]!.text).toContain("1 slow");
    expect(slow.at(-2)!.text).toBe(
      "guest-1: its disk vda took 400 ms for each write.  virstream why guest-1 qemu+ssh://hv1/system",
    );
    expect(look(10, 0)[3]!.text).toMatch(/^SLOW DISK +guest-1/);
    expect(look(1, 0)[3]).toEqual({ text: expect.stringMatching(/^running +guest-1/), style: "plain" });
  });

  it("breaks what is wrong with a guest into lines that fit, and cuts its other lines", () => {
    const rows = new Rows();
    const screen = new Screen().show([rows.row(0)]).press("return");
    screen.size = { columns: 24, rows: 8 };
    const text = `virsh resume guest ${"x".repeat(30)}`;
    screen.guest = [
      { text, style: "strong", wraps: true },
      { text, style: "plain" },
    ];
    expect(screen.frame.slice(1, 5)).toMatchObject([
      { text: "virsh resume guest", style: "strong" },
      { text: "x".repeat(24) },
      { text: "x".repeat(6), style: "strong" },
      { text: "virsh resume guest xxxx…", style: "plain" },
    ]);
  });

  it("has one line for each host that is absent, with the number of its guests and their age", () => {
    const screen = new Screen();
    const rows = new Rows();
    const away = [1, 2].map((i) => rows.row(i, { domain: domain(i, "hv9") }));
    rows.at += 40_000;
    screen.show([rows.row(0), rows.row(3, stuck), ...away], ["hv9"], ["hv1", "hv9"]);
    expect(screen.names).toEqual(["guest-3", "(2 guests)", "guest-0"]);
    expect(screen.rows[1]!.text).toMatch(/^NO HOST +\(2 guests\) +hv9 .* 40s$/);
    expect(screen.texts[0]).toContain("hv1 hv9   1 absent   4 guests");
    screen.press("down");
    expect(screen.texts.at(-2)).toBe("hv9 cannot be reached: nothing listens there [connection-refused]");
  });

  it("puts the busiest guests first, those without a figure last, and sorts by any column, both ways", () => {
    const screen = new Screen();
    const rows = new Rows();
    const tick = (second: number): TableRow[] =>
      [3, 1, 2].map((share, i) =>
        rows.row(i, {}, [...state(1, 1), ["cpu.time", "ullong", BigInt(second * share * 100_000_000)]]),
      );
    tick(0);
    rows.at += 1_000;
    screen.show([...tick(1), rows.row(9)]);
    expect(screen.names).toEqual(["guest-0", "guest-2", "guest-1", "guest-9"]);
    expect(screen.rows[0]!.text).toContain(" 30.0 ");
    expect(screen.press("c").names).toEqual(["guest-1", "guest-2", "guest-0", "guest-9"]);
    expect(screen.press("n").names).toEqual(["guest-0", "guest-1", "guest-2", "guest-9"]);
    expect(screen.press("R").names).toEqual(["guest-9", "guest-2", "guest-1", "guest-0"]);
    expect(screen.press(">").state.sort).toBe("host");
    expect(screen.press("<", "<").state.sort).toBe("status");
  });

  it("filters by name, host and uuid as the user types", () => {
    const screen = new Screen();
    const rows = new Rows();
    screen.show(Array.from({ length: 12 }, (_, i) => rows.row(i)));
    screen.press("/", "1", "1");
    expect(screen.names).toEqual(["guest-11"]);
    expect(screen.texts.at(-1)).toMatch(/^\/11_ {3}1 of 12 /);
    // A letter that is a command elsewhere is a letter here.
    expect(screen.press("q").texts[2]).toBe('No guest matches "11q".');
    expect(screen.press("backspace", "return").names).toEqual(["guest-11"]);
    expect(screen.press("escape").names).toHaveLength(12);
  });

  it("moves the selection by lines and pages, keeps it on its guest when the order changes, and shows it", () => {
    const screen = new Screen();
    const rows = new Rows();
    screen.size = { columns: 100, rows: 10 };
    screen.show(Array.from({ length: 40 }, (_, i) => rows.row(i))).press("n");
    const selected = () =>
      screen.rows.filter(({ style }) => style.startsWith("selected")).map(({ text }) => /guest-\d+/.exec(text)![0]);
    screen.press("home", "down", "pagedown");
    expect(selected()).toEqual(["guest-19"]);
    screen.press("R");
    expect(selected()).toEqual(["guest-19"]);
    screen.press("end");
    expect(selected()).toEqual(["guest-0"]);
    screen.press("down", "home", "up");
    expect(selected()).toEqual(["guest-9"]);
  });

  it("opens the page of a guest, its raw parameters, and the help, and comes back", () => {
    const screen = new Screen();
    const rows = new Rows();
    screen.guest = [{ text: "all about it", style: "plain" }];
    screen.size = { columns: 120, rows: 30 };
    screen.show([rows.row(0)]);
    expect(screen.press("return").texts[1]).toBe("all about it");
    expect(screen.press("p").state.raw).toBe(true);
    expect(screen.press("q").state).toMatchObject({ page: "list", quit: false });
    expect(screen.press("?").texts.join("\n")).toMatch(/PageDown[\s\S]*STEAL%[\s\S]*NO HOST/);
    expect(screen.press("escape", "q").state.quit).toBe(true);
    expect(press(initialState(1_000), { name: "c", sequence: "\u0003", ctrl: true }, [], 1).quit).toBe(true);
  });

  it("changes the interval in steps, and pauses", () => {
    const screen = new Screen();
    expect(screen.press("+").state.intervalMs).toBe(2_000);
    expect(screen.press("-", "-", "-", "-", "-").state.intervalMs).toBe(250);
    expect(screen.press({ name: "space", sequence: " " }).texts[0]).toMatch(/PAUSED {2}250ms$/);
  });

  it("lists who left or failed lately, the newest first, until they are back", () => {
    const screen = new Screen();
    const rows = new Rows();
    const lately = (): string => screen.press("end").texts.at(-2)!;
    screen.show([rows.row(0), rows.row(1), rows.row(2)]);
    expect(lately()).toBe("");
    screen.show([rows.row(1), rows.row(2)]);
    screen.show([rows.row(1, {}, state(5, 3)), rows.row(2)]);
    expect(lately()).toBe("lately: guest-1 crashed, guest-0 left");
    screen.show([rows.row(0), rows.row(1), rows.row(2)]);
    expect(lately()).toBe("");
    for (let i = 3; i < 300; i++) screen.show([rows.row(0), rows.row(1), rows.row(2), rows.row(i)]);
    expect(screen.list.incidents).toHaveLength(50);
    screen.now += 3_600_000;
    expect(screen.list.incidents).toEqual([]);
  });

  it("sums processors and memory of the guests that run, and says what is not known", () => {
    const screen = new Screen();
    const rows = new Rows();
    const tick = (second: number): TableRow[] =>
      [0, 1].map((i) =>
        rows.row(i, {}, [
          ...state(1, 1),
          ["cpu.time", "ullong", BigInt(second * 500_000_000)],
          ["balloon.maximum", "ullong", 2_097_152n],
          ["balloon.current", "ullong", 2_097_152n],
          ["balloon.rss", "ullong", 1_048_576n],
          ["vcpu.current", "uint", 2],
        ]),
      );
    screen.show(tick(0));
    expect(screen.texts[0]).not.toContain("CPU");
    rows.at += 1_000;
    screen.show(tick(1));
    expect(screen.texts[0]).toContain("CPU 1.0 of 4   MEM ~2.0G of 4.0G");
    expect(screen.rows[0]!.text).toMatch(/ 2 +50\.0 +- +~1\.0G +- /);
  });

  it("leaves out the columns that matter least when it is narrow, and keeps its columns in line whatever the names are", () => {
    const screen = new Screen();
    const rows = new Rows();
    const names = [
      "web-01",
      "数据库服务器",
      "👩‍👩‍👧‍👦-family",
      "cafe\u0301",
      "数".repeat(40),
      `${"👩‍👩‍👧‍👦".repeat(19)}-é`,
      "evil\u202etxt\u009b2J",
    ];
    screen.show(names.map((name, i) => rows.row(i, { domain: domain(i, "hv1", name) })));
    for (const columns of [40, 60, 80, 81, 200]) {
      screen.size = { columns, rows: 24 };
      const [, title] = screen.texts;
      const place = title!.indexOf("CPU%") + 3;
      expect(title).toMatch(/^STATUS +GUEST/);
      if (columns < 80) expect(title).not.toContain("AGE");
      for (const { text } of screen.rows) {
        expect(width(text)).toBeLessThanOrEqual(columns);
        if (place > 2) expect(text.replace(/ -.*$/, " -")).toMatch(/^running /);
        // A family that is cut has fewer members, and a joiner that joins nothing.
        expect(text.replaceAll("👩‍👩‍👧‍👦", "")).not.toMatch(/\u200d|\p{Surrogate}|\p{Bidi_Control}/u);
      }
    }
  });

  it("has exactly the terminal's size, whatever that is, whatever the names are, and whatever is pressed", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 250 }),
        fc.integer({ min: 5, max: 60 }),
        fc.array(fc.string({ maxLength: 80, unit: "binary" }), { maxLength: 30 }),
        fc.array(
          fc.constantFrom("up", "down", "pagedown", "end", "return", "escape", "?", "/", "x", "q", "<", ">", "R", "p"),
          { maxLength: 20 },
        ),
        (columns, rows, names, keys) => {
          const screen = new Screen();
          const table = new Rows();
          screen.size = { columns, rows };
          screen.guest = names.map((text) => ({ text, style: "plain" }));
          screen.show(
            names.map((name, i) => table.row(i, { domain: domain(i, i % 3 ? "hv1" : "hv2", name) })),
            ["hv2"],
            ["hv1", "hv2"],
          );
          const { texts } = screen.press(...keys);
          expect(texts).toHaveLength(rows);
          for (const line of texts) expect([line, width(line) <= columns]).toEqual([printable(line), true]);
        },
      ),
    );
  });
});
