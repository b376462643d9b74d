/** What each contender's rounds came to: the same round of each was measured one right after the other. */
export type Measured<Contender extends string, Figures> = Record<Contender, Figures[]>;

/**
 * Measures contenders in paired rounds. The order is reversed every second round: a machine that gets slower in the
 * middle must not favour anybody. What is compared is the ratio within a round, so that the machine's moods cancel out.
 */
export async function pairedRounds<Contender extends string, Figures>(
  name: string,
  contenders: readonly Contender[],
  rounds: number,
  measure: (contender: Contender) => Promise<Figures>,
): Promise<Measured<Contender, Figures>> {
  const measured = Object.fromEntries(contenders.map((contender) => [contender, [] as Figures[]])) as Measured<
    Contender,
    Figures
  >;
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const contender of order) {
      console.error(`${name}: round ${round + 1} of ${rounds}, ${contender}`);
      measured[contender].push(await measure(contender));
    }
  }
  return measured;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of one figure over the rounds. */
export function medianOf<Figures>(rounds: readonly Figures[], figure: (figures: Figures) => number): number {
  return median(rounds.map(figure));
}

/** The median over the rounds of our figure as a part of the peer's of the same round. */
export function medianRatio<Ours, Peer>(
  ours: readonly Ours[],
  peer: readonly Peer[],
  ourFigure: (figures: Ours) => number,
  peerFigure: (figures: Peer) => number,
): number {
  return median(ours.map((figures, round) => ourFigure(figures) / peerFigure(peer[round]!)));
}
