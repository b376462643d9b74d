import { once } from "node:events";
import type { Writable } from "node:stream";
import type { DomainRates } from "../client/rates.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { Notices } from "./format/notice.ts";
import type { WatchFormat } from "./format/watch-format.ts";

/** Where a watch is shown. */
export interface Display {
  /** @param rates those of the event's record, where rates are wanted */
  take(event: WatchEvent, rates: DomainRates | undefined): void;
  /** Settles when there is room for more: what happens meanwhile is for the watch to sum up. */
  room(signal: AbortSignal): Promise<void>;
  /** The last one sees what there is, and what was changed for showing it is as before. Safe to call twice. */
  end(): void;
}

/** Prints a watch line by line, for pipes and files; what the format has no place for goes to a second output. */
export class LineDisplay implements Display {
  readonly #format: WatchFormat;
  readonly #output: Writable;
  readonly #notice: (line: string) => void;
  readonly #notices: Notices;
  #text = "";

  /**
   * @param notice takes the lines of `notices`, which are told unless the format has a place for all events
   */
  constructor(format: WatchFormat, output: Writable, notices: Notices, notice: (line: string) => void) {
    this.#format = format;
    this.#output = output;
    this.#notice = notice;
    this.#notices = notices;
  }

  take(event: WatchEvent, rates: DomainRates | undefined): void {
    this.#text += this.#format.event(event, rates);
    if (this.#format.tellsAll) return;
    const line = this.#notices.of(event);
    if (line !== undefined) this.#notice(line);
  }

  async room(signal: AbortSignal): Promise<void> {
    const text = this.#text;
    this.#text = "";
    if (text !== "" && !this.#output.write(text)) await once(this.#output, "drain", { signal });
  }

  end(): void {
    if (this.#text !== "") this.#output.write(this.#text);
    this.#text = "";
  }
}
