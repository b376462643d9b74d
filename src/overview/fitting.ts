/**
 * Leaves out columns until the remaining ones fit. It leaves out the highest rank first and, within a rank, the
 * last column first. Columns of rank 0 stay.
 *
 * @param columns the array is changed in place
 * @param fits returns true if the remaining columns have room; `rank` is the highest rank among them
 */
export function fitColumns<Column>(
  columns: Column[],
  rankOf: (column: Column) => number,
  fits: (columns: readonly Column[], rank: number) => boolean,
): Column[] {
  for (;;) {
    const rank = Math.max(0, ...columns.map(rankOf));
    if (rank === 0 || fits(columns, rank)) return columns;
    const last = columns.findLastIndex((column) => rankOf(column) === rank);
    columns.splice(last, 1);
  }
}
