import type { Connection } from "../client/connection.ts";
import type { TableRow } from "../client/table/rows.ts";
import { hostNames } from "../driver/matcher.ts";
import { VirstreamError } from "../model/error.ts";
import type { Recorded } from "../model/record.ts";
import { sortedBy } from "../overview/guest-list.ts";
import type { Line } from "../overview/line.ts";
import { printable } from "../overview/words.ts";
import { Access } from "./access.ts";
import { type PageView, readView, serverUrl, writeView } from "./address.ts";
import { ConnectionNotice } from "./connection-notice.ts";
import { element, setText } from "./element.ts";
import { GuestView } from "./guest/guest-view.ts";
import { GuestWatch } from "./guest/guest-watch.ts";
import { intervalOf } from "./interval.ts";
import { GuestTable } from "./list/guest-table.ts";
import { BASE_GROUPS, ListWatch } from "./list/list-watch.ts";
import { Problems } from "./problems.ts";
import { Replay } from "./recording/replay.ts";
import { Summary } from "./summary.ts";

/**
 * On a narrow screen an open guest covers the list, and the page then does not watch the list. page.css has the same
 * width.
 */
const NARROW = matchMedia("(max-width: 899px)");

/** The live page: the list of guests, the problems, and one guest. It watches only the parts that are on the screen. */
class Page {
  readonly #url = serverUrl();
  readonly #access = new Access(this.#url);
  readonly #notice = new ConnectionNotice();
  readonly #summary = new Summary();
  readonly #watch = new ListWatch(
    () => this.#view,
    () => this.#show(),
    (error) => this.#ended(error),
    () => this.#now(),
  );
  readonly #guestWatch = new GuestWatch((row) => this.#showRow(row));
  readonly #problems = new Problems(
    (key) => this.#open(key),
    () => this.#url,
  );
  readonly #table = new GuestTable(this.#watch.cpu, {
    onOpen: (key) => this.#open(key),
    onSort: (name) => this.#sort(name),
    onColumns: () => this.#apply(),
  });
  readonly #guest = new GuestView(
    () => this.#close(),
    () => this.#url,
    // A page that is hidden or paused asks nothing, so that it costs the server nothing.
    async (domain, signal) => (this.#seen && this.#replay === undefined ? this.#access.why(domain, signal) : undefined),
    () => this.#now(),
  );
  readonly #filter = element("input", {
    ...{ type: "search", placeholder: "Filter", "aria-label": "Filter by guest, host or uuid", spellcheck: "false" },
  });
  readonly #count = element("output");
  readonly #pause = element("button", { type: "button", "aria-pressed": "false" }, "Pause");
  #view: PageView = readView();
  #connection: Connection | undefined;
  /** If the server serves a recording: its replay, which replaces the watches. */
  #replay: Replay | undefined;
  #paused = false;
  /** The reason why the watch ended by itself; undefined if it has not. */
  #end: string | undefined;

  constructor() {
    this.#filter.value = this.#view.filter;
    this.#filter.addEventListener("input", () => this.#change({ filter: this.#filter.value }));
    this.#pause.addEventListener("click", () => this.#togglePause());
    document.body.append(
      this.#notice.element,
      element("header", { class: "bar" }, element("h1", {}, "virstream"), this.#summary.element),
      this.#access.form,
      element(
        "main",
        {},
        element(
          "div",
          { class: "list" },
          this.#problems.element,
          element("div", { class: "tools", role: "search" }, this.#filter, this.#count, this.#pause),
          this.#table.element,
        ),
        this.#guest.element,
      ),
      this.#problems.announcer,
    );
    this.#table.mounted();
    document.addEventListener("visibilitychange", () => this.#apply());
    document.addEventListener("keydown", (event) => this.#press(event));
    NARROW.addEventListener("change", () => this.#apply());
    addEventListener("popstate", () => this.#restore());
    addEventListener("hashchange", () => this.#restore());
    setInterval(() => this.#tick(), 1_000);
    if (this.#view.guest !== undefined) this.#table.select(this.#view.guest);
    this.#show();
  }

  /**
   * Connects, and connects again with another token when the server asks for one. Resolves when no more events can
   * come.
   */
  async run(): Promise<void> {
    this.#notice.show("amber", "Connecting");
    for (;;) {
      let connection: Connection;
      try {
        connection = await this.#access.open(({ message }) => {
          // This callback also runs after a connection is lost, but then the connection's status already reports the
          // loss.
          if (this.#connection === undefined) this.#notice.show("amber", "Connecting", message);
        });
      } catch (error) {
        this.#ended(error);
        return;
      }
      this.#connection = connection;
      this.#end = undefined;
      if (connection.recorded !== undefined) this.#replayFrom(connection, connection.recorded);
      connection.status.subscribe(({ state }) => {
        this.#watch.lost = state === "reconnecting";
        document.body.classList.toggle("lost", this.#watch.lost);
        if (this.#watch.lost) this.#notice.show("amber", "No connection to the server, reconnecting");
        this.#apply();
      });
      this.#apply();
      const error = await connection.closed;
      this.#connection = undefined;
      this.#replay?.close();
      this.#replay = undefined;
      this.#watch.stop();
      this.#guestWatch.stop();
      if (error?.code !== "unauthenticated") {
        this.#ended(error);
        return;
      }
    }
  }

  /** Shows a recording, with a bar for its time, in place of live figures. */
  #replayFrom(connection: Connection, { intervalMs }: Recorded): void {
    this.#table.intervalMs = intervalMs;
    this.#guest.intervalMs = intervalMs;
    this.#pause.hidden = true;
    const replay = new Replay(connection, this.#view.at, {
      groups: () => (this.#covered ? undefined : [...BASE_GROUPS, ...this.#table.groups]),
      guest: () => this.#view.guest,
      onList: ({ rows, absent }, jumped) => this.#watch.show(rows, absent, hostNames(connection.host), jumped),
      onGuest: (row, samples, jumped) => {
        this.#guest.fill(samples, jumped);
        this.#showRow(row);
      },
      onMoment: (at) => {
        this.#view = { ...this.#view, at };
        writeView(this.#view);
        if (!this.#watch.lost) this.#notice.hide();
      },
      onError: (error) => {
        if (this.#watch.lost) return;
        this.#notice.show("amber", "This moment cannot be read", VirstreamError.from(error).message);
      },
    });
    this.#replay = replay;
    document.querySelector("header.bar")!.after(replay.bar.element);
  }

  /** The clock of the page, in ms: the moment of a recording that the page shows, or the steady clock. */
  #now(): number {
    return this.#replay?.at ?? performance.now();
  }

  /** True if the open guest covers the list. */
  get #covered(): boolean {
    return this.#view.guest !== undefined && NARROW.matches;
  }

  /** Starts and stops the watches, so that only the parts on the screen are watched. */
  #apply(): void {
    const connection = this.#connection;
    const { guest } = this.#view;
    const seen = this.#seen;
    document.body.classList.toggle("open", guest !== undefined);
    if (connection === undefined) return;
    if (!this.#watch.lost) {
      if (this.#paused) this.#notice.show("calm", "Paused");
      else if (this.#end === undefined) this.#notice.hide();
    }
    if (this.#replay !== undefined) {
      this.#replay.active = seen && !this.#watch.lost;
      return;
    }
    // A server that has started again may accept other intervals.
    const parts = [this.#watch, this.#guestWatch, this.#table, this.#guest];
    for (const part of parts) part.intervalMs = intervalOf(connection);
    if (seen && !this.#covered) this.#watch.start(connection, this.#table.groups);
    else this.#watch.stop();
    if (seen && guest !== undefined) this.#guestWatch.start(connection, guest);
    else this.#guestWatch.stop();
  }

  #show(): void {
    const { list } = this.#watch;
    const lines = list.lines(this.#view);
    const { hosts, guests } = list.totals;
    const filtered = this.#view.filter !== "";
    const empty = !list.begun
      ? "Waiting for the first sweep"
      : filtered
        ? "No guest matches the filter."
        : "There is no guest.";
    this.#table.show(lines, this.#view, hosts.length > 1, empty);
    this.#summary.show(list.totals);
    const trouble = list.trouble;
    this.#problems.show(trouble, list.slow);
    setText(this.#count, filtered ? `${lines.length.toLocaleString("en")} of ${guests.toLocaleString("en")}` : "");
    document.title = `${trouble.length > 0 ? `(${trouble.length}) ` : ""}${printable(hosts[0] ?? "virstream")} - virstream`;
    this.#showGuest();
  }

  /** True while the page is visible and not paused, and its watch has not ended by itself. */
  get #seen(): boolean {
    return document.visibilityState === "visible" && !this.#paused && this.#end === undefined;
  }

  #showGuest(): void {
    const { guest } = this.#view;
    if (guest === undefined) this.#guest.close();
    else this.#guest.open(guest);
  }

  /** Shows a newer record of the open guest, with the trouble that the list shows for it. */
  #showRow(row: TableRow): void {
    const line = this.#watch.list.line(row.key);
    this.#guest.show(row, line !== undefined && "row" in line ? line : undefined);
  }

  #change(change: Partial<PageView>): void {
    this.#view = { ...this.#view, ...change };
    writeView(this.#view);
    if (change.guest !== undefined) this.#table.select(change.guest);
    this.#show();
  }

  #sort(name: string): void {
    this.#change(sortedBy(this.#view, name));
  }

  #open(key: string): void {
    const line: Line | undefined = this.#watch.list.line(key);
    // An absent host has no page of its own.
    if (line !== undefined && !("row" in line)) return;
    this.#change({ guest: key });
    this.#apply();
  }

  #close(): void {
    this.#change({ guest: undefined });
    this.#apply();
    this.#table.focus();
  }

  /** Shows what the page's address says, after Back or a link has changed the address. */
  #restore(): void {
    const { at } = this.#view;
    this.#view = readView();
    if (this.#view.at !== undefined && this.#view.at !== at) this.#replay?.stayAt(this.#view.at);
    if (this.#filter.value !== this.#view.filter) this.#filter.value = this.#view.filter;
    this.#show();
    this.#apply();
  }

  #togglePause(): void {
    this.#paused = !this.#paused;
    this.#pause.setAttribute("aria-pressed", String(this.#paused));
    this.#apply();
  }

  #press(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !typing) {
      event.preventDefault();
      this.#filter.focus();
    } else if (event.key === "Escape" && event.target === this.#filter) {
      this.#filter.value = "";
      this.#change({ filter: "" });
      this.#table.focus();
    } else if (event.key === "Escape" && this.#view.guest !== undefined) this.#close();
    else if (event.key === "Enter" && event.target === this.#filter) this.#table.focus();
  }

  /** Called once per second, because ages grow even while no record comes. */
  #tick(): void {
    this.#notice.tick();
    this.#guest.tick();
    if (this.#watch.lost || !this.#watch.running) this.#show();
  }

  #ended(error: unknown): void {
    const { code, message } = VirstreamError.from(error ?? "the server has ended the connection");
    const over = error === undefined || code === "end-of-recording";
    this.#end = over ? "The recording has ended" : "The connection has ended";
    this.#watch.stop();
    this.#guestWatch.stop();
    this.#notice.show(over ? "calm" : "amber", this.#end, over ? "" : message);
  }
}

void new Page().run();
