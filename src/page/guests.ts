import { hostNames } from "../driver/matcher.ts";
import { VirstreamError } from "../model/error.ts";
import type { DomainIdentity } from "../model/record.ts";
import type { ListView } from "../overview/guest-list.ts";
import { sortedBy } from "../overview/guest-list.ts";
import { connectTo } from "./access.ts";
import { serverUrl } from "./address.ts";
import { element } from "./element.ts";
import { intervalOf } from "./interval.ts";
import { GuestTable } from "./list/guest-table.ts";
import { ListWatch } from "./list/list-watch.ts";

/** The options of the table, and the server whose guests it shows. */
export interface GuestsOptions {
  /** The WebSocket URL of the server, such as `wss://HOST/vm`. Default: the server from which this script comes. */
  readonly url?: string;
  /** The token, if the server wants one. */
  readonly token?: string;
  /**
   * The time between two sweeps, in ms. Default 1,000, or the shortest time that the server accepts if that is longer.
   */
  readonly intervalMs?: number;
  /** Removes the table, even before it is connected. Default: none. */
  readonly signal?: AbortSignal;
  /** Called when the user opens a guest. */
  readonly onOpen?: (guest: DomainIdentity) => void;
}

/**
 * Shows the live table of the guests in an element of another page, with the height of that element. The table is not
 * updated while the page is hidden.
 *
 * @returns a function that removes the table and closes its connection
 * @throws VirstreamError such as `unauthenticated`; the reason of the signal after an abort. While the server cannot be
 *   reached, it does not throw, but tries again.
 */
export async function showGuests(place: HTMLElement, options: GuestsOptions = {}): Promise<() => void> {
  const { url = serverUrl(import.meta.url), token, signal, onOpen } = options;
  const connection = await connectTo(url, token, () => {}, signal);
  let view: ListView = { sort: "cpu", ascending: false, filter: "" };
  /** The reason why no newer records will come; undefined while they may come. */
  let ended: string | undefined;
  const watch = new ListWatch(
    () => view,
    () => show(),
    (error) => {
      ended = error === undefined ? "The recording has ended." : VirstreamError.from(error).message;
      lose(true);
      show();
    },
  );
  const lose = (lost: boolean): void => {
    watch.lost = lost;
    table.element.classList.toggle("lost", lost);
  };
  const show = (): void => {
    const lines = watch.list.lines(view);
    const empty = ended ?? (watch.list.begun ? "There is no guest." : "Waiting for the first sweep");
    table.show(lines, view, hostNames(connection.host).length > 1, empty);
  };
  const apply = (): void => {
    if (ended !== undefined) return;
    if (document.visibilityState === "visible") watch.start(connection, table.groups);
    else watch.stop();
  };
  const table = new GuestTable(watch.cpu, {
    onOpen: (key) => {
      const line = watch.list.line(key);
      if (line !== undefined && "row" in line) onOpen?.(line.row.domain);
    },
    onSort: (name) => {
      view = { ...view, ...sortedBy(view, name) };
      show();
    },
    onColumns: () => apply(),
  });
  watch.intervalMs = table.intervalMs = options.intervalMs ?? intervalOf(connection);
  connection.status.subscribe(({ state }) => lose(ended !== undefined || state !== "connected"));
  // The shadow root keeps the style and the class names of the table apart from those of the page.
  const host = document.createElement("div");
  const style = element("link", { rel: "stylesheet", href: new URL("guests.css", import.meta.url).href });
  host.attachShadow({ mode: "open" }).append(style, table.element);
  place.append(host);
  table.mounted();
  show();
  document.addEventListener("visibilitychange", apply);
  const end = (): void => {
    document.removeEventListener("visibilitychange", apply);
    watch.stop();
    host.remove();
    void connection.close();
  };
  signal?.addEventListener("abort", end, { once: true });
  return end;
}
