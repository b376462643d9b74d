/** The attributes of an element, by their names. */
type Attributes = Readonly<Record<string, string>>;

/** Makes an element. Children that are texts become text nodes, so nothing is parsed as HTML. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Sets the text of a node only if it differs, so that the browser does nothing for an unchanged text. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}
