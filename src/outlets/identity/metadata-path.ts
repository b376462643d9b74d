import { invalid, quote } from "../../model/error.ts";
import type { Element } from "./xml.ts";

interface Step {
  readonly name: string;
  /** Undefined: any namespace. */
  readonly namespace: string | undefined;
}

const NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,63}$/;
/** Label names that a MetadataPath cannot have, because its series has labels of these names anyway. */
const RESERVED: readonly string[] = ["domain", "host", "uuid"];
const STEP = /\/?(?:\{([^{}]*)\})?([^/{}@]+)/y;
const FORM = "NAME=STEP/STEP[@ATTRIBUTE], where a step is an element's name, or {NAMESPACE} and its name";

/**
 * The place of a text in a domain's definition: a path of element names, which may end with an attribute. The path
 * begins at `<metadata>`, or, if its first character is a slash, at `<domain>`. If several elements have the same name,
 * the first element that has the rest of the path counts.
 */
export class MetadataPath {
  /** The name of the label whose value is the text. */
  readonly name: string;
  readonly #steps: readonly Step[];
  readonly #attribute: string | undefined;

  /**
   * @param text such as `team={urn:example:billing}account/team`, `owner=instance/owner/user@uuid` or `title=/title`
   * @throws VirstreamError `invalid-argument`
   */
  constructor(text: string) {
    const [, name = "", path = "", attribute] = /^([^=]*)=([^@]*)(?:@([^/{}@]+))?$/.exec(text) ?? [];
    if (!NAME.test(name))
      throw refused(text, "a name has letters, digits and _, begins with no digit, and has at most 64 characters");
    if (RESERVED.includes(name)) throw refused(text, `${name} is a label that the series has anyway`);
    const steps: Step[] = [];
    STEP.lastIndex = 0;
    for (let at = 0; at < path.length; at = STEP.lastIndex) {
      const [, namespace, step] = STEP.exec(path) ?? [];
      if (step === undefined || (at > 0 && path[at] !== "/")) throw refused(text, "the path cannot be read");
      steps.push({ namespace, name: step });
    }
    if (steps.length === 0) throw refused(text, "it has no path");
    this.name = name;
    this.#steps = path.startsWith("/") ? steps : [{ name: "metadata", namespace: undefined }, ...steps];
    this.#attribute = attribute;
  }

  /** The text at this place of a definition; undefined if the definition has no text there. */
  find(domain: Element): string | undefined {
    return this.#from(domain, 0);
  }

  #from(element: Element, step: number): string | undefined {
    const next = this.#steps[step];
    if (next === undefined)
      return this.#attribute === undefined ? element.text : element.attributes.get(this.#attribute);
    for (const child of element.children) {
      if (child.name !== next.name || (next.namespace !== undefined && child.namespace !== next.namespace)) continue;
      const found = this.#from(child, step + 1);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

function refused(text: string, why: string) {
  return invalid(`the metadata ${quote(text)} must have the form ${FORM}: ${why}`);
}
