import type { Recorded } from "../../model/record.ts";
import { element, setText } from "../element.ts";

/** The speeds that the user can choose: how many seconds of recorded time pass per second. */
const SPEEDS = [1, 4, 16, 60];

/** The user's actions on the time bar. */
export interface TimeEvents {
  /**
   * The user chooses a moment. While the user drags the slider, this is called many times; in the last call, `final` is
   * true.
   */
  readonly onSeek: (at: number, final: boolean) => void;
  readonly onPlay: (playing: boolean) => void;
  readonly onSpeed: (speed: number) => void;
}

/** The bar with which the user chooses a moment of a recording, and plays the recording from there. */
export class TimeBar {
  readonly element: HTMLElement;
  readonly #slider = element("input", { type: "range", "aria-label": "Time" });
  readonly #time = element("time");
  readonly #play = element("button", { type: "button" });
  readonly #stepMs: number;
  readonly #from: number;
  #to = 0;

  /**
   * @param recorded the time that the user can choose; a step by the keyboard is one interval, but at least a second
   */
  constructor({ from, to, intervalMs }: Recorded, events: TimeEvents) {
    this.#from = from;
    this.#stepMs = Math.max(1_000, intervalMs);
    const chosen = (): number => Math.min(this.#from + Number(this.#slider.value) * this.#stepMs, this.#to);
    this.#slider.addEventListener("input", () => events.onSeek(chosen(), false));
    this.#slider.addEventListener("change", () => events.onSeek(chosen(), true));
    this.#play.addEventListener("click", () => events.onPlay(this.#play.dataset["playing"] !== "true"));
    const speeds = SPEEDS.map((speed) => element("option", { value: String(speed) }, `${speed}×`));
    const speed = element("select", { "aria-label": "Speed" }, ...speeds);
    speed.addEventListener("change", () => events.onSpeed(Number(speed.value)));
    this.element = element(
      "div",
      { class: "time-bar", role: "group", "aria-label": "Time of the recording" },
      ...[this.#play, this.#slider, this.#time, speed],
    );
    this.extend(to);
  }

  /** Sets the end of the recording, which has grown. */
  extend(to: number): void {
    this.#to = to;
    this.#slider.max = String(Math.ceil((to - this.#from) / this.#stepMs));
  }

  show(at: number, playing: boolean): void {
    const moment = new Date(at);
    const text = moment.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
    this.#slider.value = String(Math.floor((at - this.#from) / this.#stepMs));
    this.#slider.setAttribute("aria-valuetext", text);
    setText(this.#time, text);
    this.#time.dateTime = moment.toISOString();
    this.#play.dataset["playing"] = String(playing);
    setText(this.#play, playing ? "Pause" : "Play");
  }
}
