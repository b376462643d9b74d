import { screenColumn } from "../overview/columns.ts";
import type { ListView } from "../overview/guest-list.ts";

/** The user's choices. They are in the address of the page, so that the user can keep the address and pass it on. */
export interface PageView extends ListView {
  /** The key of the guest that is open; undefined: none. */
  readonly guest: string | undefined;
  /** The moment of a recording, in ms since 1970; undefined: none was chosen. */
  readonly at: number | undefined;
}

const DEFAULT_VIEW: PageView = { sort: "cpu", ascending: false, filter: "", guest: undefined, at: undefined };

/** Reads the view from the fragment of the page's address. A field that is missing or invalid gets its default. */
export function readView(): PageView {
  const fields = new URLSearchParams(location.hash.slice(1));
  const { name, isText } = screenColumn(fields.get("sort") ?? "") ?? screenColumn(DEFAULT_VIEW.sort)!;
  const at = Date.parse(fields.get("at") ?? "");
  return {
    sort: name,
    ascending: fields.has("order") ? fields.get("order") === "up" : isText,
    filter: fields.get("filter") ?? DEFAULT_VIEW.filter,
    guest: fields.get("guest") ?? undefined,
    at: Number.isNaN(at) ? undefined : at,
  };
}

/**
 * Writes the view into the address. An opened guest adds an entry to the browser's history, so Back closes the guest.
 */
export function writeView(view: PageView): void {
  const fields = new URLSearchParams();
  const { sort, ascending, filter, guest, at } = view;
  if (sort !== DEFAULT_VIEW.sort) fields.set("sort", sort);
  if (ascending !== screenColumn(sort)?.isText) fields.set("order", ascending ? "up" : "down");
  if (filter !== "") fields.set("filter", filter);
  if (guest !== undefined) fields.set("guest", guest);
  if (at !== undefined) fields.set("at", new Date(at).toISOString());
  const hash = fields.size === 0 ? location.pathname + location.search : `#${fields}`;
  if (guest !== undefined && guest !== readView().guest) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
}

/**
 * The WebSocket URL of the server from which the page comes. If the URL has a path, it ends with a slash, because
 * without the slash a proxy would redirect.
 */
export function serverUrl(base: string = location.href): string {
  const url = new URL(".", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  url.hash = "";
  return url.pathname === "/" ? url.href.slice(0, -1) : url.href;
}
