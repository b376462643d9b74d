/** The figures of each contender by round. In each round, the contenders run one right after the other. */
export type Measured<Contender extends string, Figures> = Record<Contender, Figures[]>;

/**
 * Measures contenders in paired rounds. The order is reversed every second round, so that a machine that gets slower
 * favours no contender. Each ratio is computed from figures of the same round, so that other load on the machine
 * cancels out.
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

/** Divides virstream's figure by the peer's in each round. Returns the median of these ratios. */
export function medianRatio<Ours, Peer>(
  ours: readonly Ours[],
  peer: readonly Peer[],
  ourFigure: (figures: Ours) => number,
  peerFigure: (figures: Peer) => number,
): number {
  return median(ours.map((figures, round) => ourFigure(figures) / peerFigure(peer[round]!)));
}
