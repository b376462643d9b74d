import type { Totals } from "../overview/guest-list.ts";
import { narrowBytes } from "../overview/quantity.ts";
import { printable } from "../overview/words.ts";
import { element, setText } from "./element.ts";

/** Hosts that are named; of more, the number is given. */
const NAMED_HOSTS = 3;

/** The line of all guests and hosts together, at the top of the page. */
export class Summary {
  readonly element = element("ul", { class: "summary", "aria-label": "Summary" });
  readonly #items = new Map<string, HTMLLIElement>();

  show({ hosts, absent, guests, troubles, cpus, vcpus, usedBytes, assignedBytes }: Totals): void {
    const stuck = troubles.get("stuck") ?? 0;
    const storage = troubles.get("io-error") ?? 0;
    const all = [...troubles.values()].reduce((sum, each) => sum + each, 0);
    const rest = all - stuck - storage;
    const named = hosts.slice(0, NAMED_HOSTS).map(printable).join(" ");
    this.#set("hosts", hosts.length > NAMED_HOSTS ? `${named} +${hosts.length - NAMED_HOSTS}` : named);
    this.#set("absent", absent === 0 ? "" : `${absent} absent`, true);
    this.#set("guests", `${guests.toLocaleString("en")} guest${guests === 1 ? "" : "s"}`);
    this.#set("stuck", stuck === 0 ? "" : `${stuck} stuck`, true);
    this.#set("io-error", storage === 0 ? "" : `${storage} I/O error${storage === 1 ? "" : "s"}`, true);
    this.#set("trouble", rest === 0 ? "" : `${rest} in other trouble`, true);
    const processors = cpus === undefined ? "" : `CPU ${cpus.toFixed(cpus < 10 ? 1 : 0)}`;
    this.#set("cpu", processors === "" || vcpus === 0 ? processors : `${processors} of ${vcpus.toLocaleString("en")}`);
    this.#set("mem", assignedBytes === 0 ? "" : `MEM ${narrowBytes(usedBytes)} of ${narrowBytes(assignedBytes)}`);
  }

  /** Shows a part; an empty one is not there. */
  #set(name: string, text: string, bad = false): void {
    let item = this.#items.get(name);
    if (item === undefined) {
      item = element("li", bad ? { class: "trouble" } : {});
      this.#items.set(name, item);
      this.element.append(item);
    }
    item.hidden = text === "";
    setText(item, text);
  }
}
