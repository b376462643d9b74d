/**
 * The name that a misspelt word most likely means: the one with the fewest missing, extra, wrong or swapped characters;
 * upper and lower case count as equal. Undefined when no name is near. In a near name, at most a third of the word's
 * characters differ; one character may always differ.
 */
export function nearest<Name extends string>(word: string, names: readonly Name[]): Name | undefined {
  let best: Name | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const name of names) {
    const distance = editDistance(word.toLowerCase(), name.toLowerCase());
    if (distance >= least) continue;
    least = distance;
    best = name;
  }
  return best;
}

/** The end of a message about a misspelt word; empty when no name is near. */
export function suggestion(word: string, names: readonly string[], prefix = ""): string {
  const meant = nearest(word, names);
  return meant === undefined ? "" : `: did you mean ${prefix}${meant}?`;
}

/** The Damerau-Levenshtein distance in which no substring is edited twice. */
function editDistance(one: string, other: string): number {
  let [before, row]: [number[], number[]] = [[], Array.from({ length: other.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1];
      let distance = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      if (swapped) distance = Math.min(distance, before[j - 2]! + 1);
      next.push(distance);
    }
    [before, row] = [row, next];
  }
  return row[other.length]!;
}
