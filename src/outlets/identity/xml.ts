import { VirstreamError } from "../../model/error.ts";

/** An element of an XML document. */
export interface Element {
  /** Its name without a prefix. */
  readonly name: string;
  /** The namespace of its name; empty: none. */
  readonly namespace: string;
  /** The values of the attributes by their names, without prefixes; declarations of namespaces are left out. */
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Element[];
  /** Its own text, without that of its children, and without white space at the ends. */
  readonly text: string;
}

/**
 * Reads a document. Throws a VirstreamError `protocol-error` if it is malformed, or larger than any definition of a
 * domain.
 */
export type ParseXml = (xml: string) => Element;

/** The longest document that is read, in characters. A definition has about 10,000. */
const MAX_CHARACTERS = 1_048_576;
/** How deep elements may be nested. */
const MAX_DEPTH = 64;
/**
 * The most tags and attributes that a document may have, counted together. The definition of a guest with 100 disks has
 * about 4,000.
 */
const MAX_MARKUP = 50_000;

/**
 * A node as the parser returns it. An element has a member whose name is the tag's name and whose value is the child
 * nodes, and the member ATTRIBUTES. A text has the member TEXT instead.
 */
type Node = Readonly<Record<string, unknown>>;
const ATTRIBUTES = ":@";
const TEXT = "#text";
const PREFIX = "@";

/**
 * Loads the package fast-xml-parser, and returns a function that reads XML with it. Only metrics need this package, so
 * it is optional.
 *
 * @throws VirstreamError `unsupported` if the package is not installed, with the command that installs it
 */
export async function loadXmlParser(): Promise<ParseXml> {
  const { XMLParser } = await import("fast-xml-parser").catch((cause: unknown) => {
    const message = "definitions of domains need the package fast-xml-parser: npm install fast-xml-parser@5";
    throw new VirstreamError("unsupported", message, { cause });
  });
  const parser = new XMLParser({
    ...{ preserveOrder: true, ignoreAttributes: false, attributeNamePrefix: PREFIX, textNodeName: TEXT },
    ...{ parseTagValue: false, parseAttributeValue: false, trimValues: false, allowBooleanAttributes: false },
    ...{ ignoreDeclaration: true, ignorePiTags: true, maxNestedTags: MAX_DEPTH },
    // The function `decode` below decodes the entities instead. It also decodes numeric entities, decodes no entity
    // twice, and ignores entities that the document defines.
    processEntities: false,
  });
  return (xml) => {
    check(xml);
    let nodes: Node[];
    try {
      nodes = parser.parse(xml, true) as Node[];
    } catch (cause) {
      throw malformed((cause as Error).message, cause);
    }
    const [root, ...others] = nodes.filter((node) => !(TEXT in node));
    if (root === undefined || others.length > 0) throw malformed("it has not exactly one root element");
    return elementOf(root, new Map());
  };
}

/**
 * Refuses a document that would cost the parser too much time or memory. The parser does not see such a document. A
 * document with a DTD is refused, too, because libvirt's documents have none.
 */
function check(xml: string): void {
  if (xml.length > MAX_CHARACTERS) throw malformed(`it has more than ${MAX_CHARACTERS} characters`);
  if (xml.includes("<!DOCTYPE")) throw malformed("it has a document type, which could define entities");
  let markup = 0;
  for (let i = 0; i < xml.length; i++) {
    const code = xml.charCodeAt(i);
    // The characters < and =: each tag has one <, and each attribute has one =.
    if ((code === 0x3c || code === 0x3d) && ++markup > MAX_MARKUP)
      throw malformed(`it has more than ${MAX_MARKUP} tags and attributes`);
  }
}

function elementOf(node: Node, outer: ReadonlyMap<string, string>): Element {
  const attributes = new Map<string, string>();
  let namespaces = outer;
  for (const [key, value] of Object.entries((node[ATTRIBUTES] as Record<string, string> | undefined) ?? {})) {
    const name = key.slice(PREFIX.length);
    const text = decode(value);
    if (name === "xmlns" || name.startsWith("xmlns:")) {
      namespaces = new Map(namespaces).set(name.slice("xmlns:".length), text);
    } else {
      attributes.set(localName(name), text);
    }
  }
  const tag = Object.keys(node).find((key) => key !== ATTRIBUTES)!;
  const colon = tag.indexOf(":");
  const children: Element[] = [];
  let text = "";
  for (const child of node[tag] as readonly Node[]) {
    if (TEXT in child) text += decode(String(child[TEXT]));
    else children.push(elementOf(child, namespaces));
  }
  const namespace = namespaces.get(colon < 0 ? "" : tag.slice(0, colon)) ?? "";
  return { name: localName(tag), namespace, attributes, children, text: text.trim() };
}

function localName(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

const NAMED: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** Decodes numeric entities, and the five named entities that XML itself defines. */
function decode(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(lt|gt|amp|quot|apos));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return NAMED[name]!;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function malformed(why: string, cause?: unknown): VirstreamError {
  return new VirstreamError("protocol-error", `the definition of a domain cannot be read: ${why}`, { cause });
}
