/**
 * The names of several hosts as the `host` of a driver, with commas between them. It is asked for at each event of each host, so the
 * text is made only when a name has changed.
 */
export class HostList {
  #names: readonly string[] = [];
  #text = "";

  of(names: readonly string[]): string {
    if (names.length !== this.#names.length || names.some((name, i) => name !== this.#names[i])) {
      this.#names = names;
      this.#text = names.join(",");
    }
    return this.#text;
  }
}
