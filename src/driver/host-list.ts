/**
 * The names of several hosts as the `host` of a driver, with commas between them. The text is needed for every event of
 * every host, so it is made again only when a name has changed.
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
