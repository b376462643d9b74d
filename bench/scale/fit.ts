/** The coefficients of a linear model, and how far the model is from the measurements. */
export interface Fit {
  readonly coefficients: readonly number[];
  /** The largest deviation from a measurement, as a fraction of the measurement. */
  readonly worst: number;
}

/**
 * Fits `y = Σ coefficient × x` by least squares of the relative deviations: a small load counts as much as a large one.
 * A coefficient that would be negative is 0.
 *
 * @param rows the x of each measurement; a constant is an x of 1
 */
export function leastSquares(rows: readonly (readonly number[])[], ys: readonly number[]): Fit {
  let used = rows[0]!.map((_, column) => column);
  for (;;) {
    const solved = solve(
      rows.map((row, i) => used.map((column) => row[column]! / ys[i]!)),
      ys.map(() => 1),
    );
    const positive = used.filter((_, i) => solved[i]! > 0);
    if (positive.length < used.length) {
      used = positive;
      continue;
    }
    const coefficients = rows[0]!.map((_, column) => solved[used.indexOf(column)] ?? 0);
    const deviations = rows.map((row, i) => {
      const predicted = row.reduce((sum, x, column) => sum + x * coefficients[column]!, 0);
      return Math.abs(predicted / ys[i]! - 1);
    });
    return { coefficients, worst: Math.max(...deviations) };
  }
}

/** The least squares solution of a system with more equations than unknowns: Gauss's elimination of the normal equations. */
function solve(rows: readonly (readonly number[])[], ys: readonly number[]): number[] {
  const size = rows[0]!.length;
  const matrix = Array.from({ length: size }, (_, i) => [
    ...Array.from({ length: size }, (_, j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0)),
    rows.reduce((sum, row, n) => sum + row[i]! * ys[n]!, 0),
  ]);
  for (let i = 0; i < size; i++) {
    const pivot = matrix.slice(i).reduce((best, row) => (Math.abs(row[i]!) > Math.abs(best[i]!) ? row : best));
    matrix.splice(matrix.indexOf(pivot), 1);
    matrix.splice(i, 0, pivot);
    for (const row of matrix) {
      if (row === pivot) continue;
      const factor = row[i]! / pivot[i]!;
      for (let j = i; j <= size; j++) row[j]! -= factor * pivot[j]!;
    }
  }
  return matrix.map((row, i) => row[size]! / row[i]!);
}
