import { once } from "node:events";
import type { Writable } from "node:stream";
import type { DomainRates } from "../client/rates.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { Format } from "./format/format.ts";
import type { Notices } from "./format/notice.ts";
import { notify } from "./notify.ts";

/** Prints a watch line by line, for pipes and files. Events for which the format has no text go to stderr. */
export class LineDisplay {
  readonly #format: Format;
  readonly #output: Writable;
  readonly #notices: Notices;
  #begun = false;
  #text = "";

  constructor(format: Format, output: Writable, notices: Notices) {
    this.#format = format;
    this.#output = output;
    this.#notices = notices;
  }

  /** @param rates the rates of the event's record, if the user asked for rates */
  take(event: WatchEvent, rates: DomainRates | undefined): void {
    if (!this.#begun && (event.type === "record" || event.type === "sync")) {
      this.#begun = true;
      this.#text += this.#format.begin();
    }
    this.#text += event.type === "record" ? this.#format.record(event.record, rates) : this.#format.event(event);
    const notice = this.#format.hasAllEvents ? undefined : this.#notices.of(event);
    if (notice !== undefined) notify(notice);
  }

  /**
   * Prints the text of the events that `take` got. Resolves when the output has room for more. Until then the watch
   * keeps only the newest records.
   */
  async room(signal: AbortSignal): Promise<void> {
    const text = this.#text;
    this.#text = "";
    if (text !== "" && !this.#output.write(text)) await once(this.#output, "drain", { signal });
  }

  /** Prints the text that `room` has not printed yet. Safe to call twice. */
  end(): void {
    if (this.#text !== "") this.#output.write(this.#text);
    this.#text = "";
  }
}
