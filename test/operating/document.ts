import { readFileSync } from "node:fs";

const PAGE = readFileSync(new URL("../../docs/operating.md", import.meta.url), "utf8");

/** A chapter of docs/operating.md. */
export function chapterOf(title: string): string {
  return PAGE.split(`\n## ${title}\n`)[1]!.split("\n## ")[0]!;
}

/** The blocks of one language in a chapter of docs/operating.md. */
export function blocksOf(chapter: string, language: string): string[] {
  return [...chapterOf(chapter).matchAll(/^```(\w+)\n(.*?)^```$/gms)]
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
