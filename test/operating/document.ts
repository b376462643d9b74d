import { readFileSync } from "node:fs";

const PAGE = readFileSync(new URL("../../docs/operating.md", import.meta.url), "utf8");

/** The blocks of one language in a chapter of docs/operating.md. */
export function blocksOf(chapter: string, language: string): string[] {
  const [, body] = PAGE.split(`\n## ${chapter}\n`);
  const text = body!.split("\n## ")[0]!;
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter((match) => match[1] === language)
    .map((match) => match[2]!);
}

/** A text with other words in place of some, each of which it must have. */
export function replaced(text: string, words: Readonly<Record<string, string>>): string {
  return Object.entries(words).reduce((result, [word, other]) => {
    if (!result.includes(word)) throw new Error(`docs/operating.md has no ${JSON.stringify(word)} here: ${text}`);
    return result.replaceAll(word, other);
  }, text);
}
