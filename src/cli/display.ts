import { once } from "node:events";
import type { Writable } from "node:stream";
import type { WriteStream } from "node:tty";
import type { DomainRates } from "../client/rates.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { Format } from "./format/format.ts";
import type { Notices } from "./format/notice.ts";
import type { Frame, Screen, ScreenSize } from "./format/screen.ts";
import { alert } from "./format/text.ts";
import { notify } from "./source.ts";

/** Shows the events of a watch: as lines, or as a screen. */
export interface Display {
  /** @param rates the rates of the event's record, if the user asked for rates */
  take(event: WatchEvent, rates: DomainRates | undefined): void;
  /** Resolves when the display has room for more. Until then the watch keeps only the newest records. */
  room(signal: AbortSignal): Promise<void>;
  /** Shows what is still held back, and restores the terminal. Safe to call twice. */
  end(): void;
}

/** Prints a watch line by line, for pipes and files. Events that the format has no text for go to stderr. */
export class LineDisplay implements Display {
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

  take(event: WatchEvent, rates: DomainRates | undefined): void {
    if (!this.#begun && (event.type === "record" || event.type === "sync")) {
      this.#begun = true;
      this.#text += this.#format.begin();
    }
    this.#text += event.type === "record" ? this.#format.record(event.record, rates) : this.#format.event(event);
    const notice = this.#format.hasAllEvents ? undefined : this.#notices.of(event);
    if (notice !== undefined) notify(notice);
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

/** The second screen, an invisible cursor, and no wrapping: the terminal cuts a line that is too wide. */
const ENTER = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const LEAVE = "\u001b[?7h\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const ERASE_REST_OF_LINE = "\u001b[K";
const ERASE_REST_OF_SCREEN = "\u001b[J";
const REVERSE = "\u001b[7m";
const PLAIN = "\u001b[m";

/** The least time between two drawings, in ms. */
const REDRAW_MS = 100;

/**
 * Shows a watch on a terminal's second screen, as full-screen programs do. Draws it when something happened, the
 * terminal was resized, or the program continues after it was suspended. At the end it prints the last table on the
 * first screen.
 */
export class TerminalDisplay implements Display {
  readonly #screen: Screen;
  readonly #output: WriteStream;
  readonly #colours: boolean;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #ended = false;

  constructor(screen: Screen, output: WriteStream, colours: boolean) {
    this.#screen = screen;
    this.#output = output;
    this.#colours = colours;
    output.on("resize", this.#draw);
    process.on("SIGTSTP", this.#suspend);
    process.on("SIGCONT", this.#resume);
    output.write(ENTER);
    this.#draw();
  }

  take(event: WatchEvent, rates: DomainRates | undefined): void {
    if (!this.#screen.take(event, rates) || this.#timer !== undefined) return;
    this.#timer = setTimeout(this.#draw, Math.max(0, this.#drawnAt + REDRAW_MS - performance.now()));
  }

  async room(signal: AbortSignal): Promise<void> {
    if (this.#output.writableNeedDrain) await once(this.#output, "drain", { signal });
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#output.off("resize", this.#draw);
    process.off("SIGTSTP", this.#suspend);
    process.off("SIGCONT", this.#resume);
    // One row less, for the prompt that follows.
    const { columns, rows: height } = this.#size;
    const frame = this.#screen.frame({ columns, rows: height - 1 });
    this.#output.write(`${LEAVE}${[...frame.head, frame.title, ...this.#rows(frame)].join("\n")}\n`);
  }

  readonly #draw = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#drawnAt = performance.now();
    const frame = this.#screen.frame(this.#size);
    // Erase each line before it is written: erasing after a line as wide as the terminal would remove its last character.
    const line = (text: string): string => `${ERASE_REST_OF_LINE}${text}`;
    const lines = [...frame.head.map(line), `${REVERSE}${line(frame.title)}${PLAIN}`, ...this.#rows(frame).map(line)];
    const below = lines.length < this.#size.rows ? `\n${ERASE_REST_OF_SCREEN}` : "";
    this.#output.write(`${HOME}${lines.join("\n")}${below}`);
  };

  #rows({ rows, alerts }: Frame): string[] {
    return rows.map((row, i) => alert(row, this.#colours && i < alerts));
  }

  /** Restores the terminal before the program stops. */
  readonly #suspend = (): void => {
    this.#output.write(LEAVE);
    process.kill(process.pid, "SIGSTOP");
  };

  readonly #resume = (): void => {
    this.#output.write(ENTER);
    this.#draw();
  };

  /** 80 x 24 for a terminal that does not know its size. */
  get #size(): ScreenSize {
    return { columns: this.#output.columns || 80, rows: this.#output.rows || 24 };
  }
}
