/** A guest's name or uuid as one word of a shell command. */
export function guestWord({ name, uuid }: { readonly name: string; readonly uuid: string }): string {
  // virsh would take a name that begins with a dash for an option, and a terminal does not show control characters.
  return /^-|\p{C}/u.test(name) ? uuid : shellWord(name);
}

/** Quotes a text as one word of a shell command. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
