/** What an element is made with: attributes, and below it other elements and texts. */
type Attributes = Readonly<Record<string, string>>;

/** Makes an element. Texts become text nodes: nothing is parsed as HTML. */
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

/** Sets the text of a node if it differs: nothing on the page moves unless its text changed. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}
