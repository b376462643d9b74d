/** How many samples a sparkline shows. */
export const SAMPLES = 60;

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 20;

/** A line of a guest's CPU over its last samples, without axes. The cell beside it has the newest value as a number. */
export class Sparkline {
  readonly element = document.createElementNS(SVG, "svg");
  readonly #path = document.createElementNS(SVG, "path");
  #drawn = "";

  constructor() {
    this.element.setAttribute("class", "sparkline");
    this.element.setAttribute("viewBox", `0 0 ${SAMPLES - 1} ${HEIGHT}`);
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("aria-hidden", "true");
    this.element.append(this.#path);
  }

  /**
   * Draws samples, the oldest first; NaN leaves a hole. The full height is one processor, or the largest sample if that
   * is more than one processor.
   */
  draw(samples: readonly number[]): void {
    const top = samples.reduce((most, each) => (Number.isNaN(each) ? most : Math.max(most, each)), 100);
    const first = SAMPLES - samples.length;
    let drawn = "";
    let pen = "M";
    for (const [i, each] of samples.entries()) {
      if (Number.isNaN(each)) pen = "M";
      else {
        drawn += `${pen}${first + i} ${(HEIGHT - 1 - (each / top) * (HEIGHT - 2)).toFixed(1)}`;
        pen = "L";
      }
    }
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#path.setAttribute("d", drawn);
  }
}
